"""Where is the literature wrong, as printed? One record per correction: source, printed form, corrected formula, why.

The corrected equation is a formula of the catalogue with its derivation; the smallest numerical example of each record is
``fieldflow.errata``'s.  What the authors' code does differently from their text is listed apart: there is nothing to derive.
"""

from dataclasses import dataclass

from fieldflow.symbolic.reference import Reference

PAPER, SLIDES, TALK, NOTE = "howard2024bayesian", "halverson2021neural", "berman2025aspects", "jefferson2019deep"


@dataclass(frozen=True)
class Erratum:
    """One correction.

    Parameters
    ----------
    name : str
        Key of the record.
    source : Reference
        Where it is printed.
    title : str
        What it is about, in a few words.
    printed : str
        LaTeX of the equation as printed (the essential part).
    formula : str
        Catalogue name of the corrected equation.
    why : str
        One line, plain text with mathematics as in domains.
    """

    name: str
    source: Reference
    title: str
    printed: str
    formula: str
    why: str


@dataclass(frozen=True)
class Difference:
    """A setting in which text and code of one work, or two places of its text, differ."""

    what: str
    text: str
    code: str


def _paper(name: str, where: str, title: str, printed: str, formula: str, why: str) -> Erratum:
    return Erratum(name, Reference(PAPER, where), title, printed, formula, why)


def _talk(name: str, where: str, title: str, printed: str, why: str) -> Erratum:
    return Erratum(name, Reference(TALK, where), title, printed, f"erratum.{name}", why)


_ACTIONS = (
    _paper("eq39", "Eq. (39)", "Edgeworth series",
           r"p = p_0 + \sum_{n \geq 3} \frac{(-1)^n}{n!} \int G^{(n)}\, \frac{\delta^n p_0}{\delta\phi \cdots \delta\phi}",
           "erratum.eq39",
           "The coefficients are complete Bell polynomials of the cumulants beyond the second, not moments; (40) is right."),
    _paper("eq41", "Eqs. (41), (57)", "free action",
           r"S_{\mathrm{free}} = \int \phi(x_1)\, G_c^{(2)}(x_1, x_2)^{-1}\, \phi(x_2)", "erratum.eq41",
           "Without 1/2 the variance is half of G, without the mean the trained ensemble has none."),
    _paper("eq42", "Eqs. (42), (58)", "interactions",
           r"S_{\mathrm{int}} = \sum_{n \geq 3} \int g^{(n)}\, \phi \cdots \phi", "erratum.eq42",
           "The same fourth cumulant that gives phi^4 gives phi^2; without it the two-point function is no longer G."),
    _paper("eq54", "Eq. (54)", "Jeffreys' prior",
           r"\pi^{<}_\Lambda(\theta) \equiv \sqrt{\det \mathcal{I}^{\Lambda}_{<}(\theta_{<})}", "erratum.eq54",
           "For read-out weights it is flat on the whole line and cannot be normalised; (75) and (96) use the prior instead."),
    _paper("eq61", "Eq. (61)", "width scaling of the weights",
           r"w_\ell^{i_\ell i_{\ell-1}} \sim \mathcal{N}(0, \sigma_{w_\ell}^2)", "erratum.eq61",
           "With a variance that does not fall like 1/fan_in the output has no infinite-width limit; (78) has the 1/N."),
)  # fmt: skip

_FLOW = (
    _paper("eq63", "Eqs. (63), (64)", "independence of read-out and features",
           r"\pi(b, w) = \pi^{(L)}(b_L, w_L)\, \pi^{(-L)}, \qquad \mu_\pi(x) = \bar w \cdot V(x)", "paper.eq64_gap",
           "A trained read-out depends on the features it was trained on. Neurons are exchangeable, so all mean weights are equal "
           "and the law that (63) describes cannot fit; with one shared hidden layer it holds."),
    _paper("eq68", "Eq. (68)", "Gaussianity",
           r"\phi \sim \mathrm{GRP}(\mu_\pi, \Sigma_\pi)", "paper.eq68",
           "With drawn hidden layers f is a mixture of Gaussians at any finite width: its fourth cumulant is not zero."),
    _paper("eq71", "Eq. (71)", "centre of the posterior",
           r"\pi_D(\theta) = \mathcal{N}\bigl(\theta \,|\, \theta_\ast, (|D|\, \mathcal{I}_\ast)^{-1}\bigr)", "erratum.eq71",
           "The posterior of one data set is centred at its estimate, which spreads as much as the posterior is wide."),
    _paper("eq75", "Eq. (75)", "variance of redrawn weights",
           r"\Xi(\Lambda) \equiv \delta\, \sigma_{w_L}^2 \quad (\text{sloppy})", "paper.eq75",
           "The prior variance of one weight is s_w, which is sigma_w^2/N where an infinite-width limit exists."),
    _paper("eq76", "Eq. (76)", "one partition or one per member",
           r"\Sigma_{\pi_\Lambda} = \Xi(\Lambda) V(x, y) + \bar w(\Lambda) \bar w(\Lambda) \bigl(V(x, y) - V(x) V(y)\bigr)",
           "paper.eq76_memberwise",
           "In (94)-(96) every member has its own partition: the features of stiff neurons are not those of all."),
)  # fmt: skip

_COSNET = (
    _paper("eq77", "Eq. (77)", "cosine of a scalar product",
           r"h^i(x) = \sum_j \frac{\cos(b^i_j x^j + c^i)}{\sqrt{\sum_k (b^i_k)^2 + m^2}}", "erratum.eq77",
           "The sum over j belongs inside the cosine; as printed the kernel is not translation invariant for d > 1."),
    _paper("eq81", "Eqs. (81), (83), (85)", "support of the spectrum",
           r"\Sigma(p) = \frac{C_d\, \sigma_w^2}{p^2 + m^2}", "erratum.eq81",
           "Frequencies are drawn from a ball: beyond R there is no spectrum, and C_d itself vanishes with R -> infinity."),
    _paper("eq84", "Eq. (84)", "free scalar action",
           r"S[\tilde\phi] = \int d^dx\, \tilde\phi\, (\nabla^2 + m^2)\, \tilde\phi", "erratum.eq84",
           "The factor 1/2 is missing and the sign of the Laplacian is wrong in Euclidean space."),
    _paper("eq86", "Eq. (86)", "mean of a trained cosine network",
           r"\mu_{\pi_\Lambda}(x) = 0, \qquad "
           r"\tilde\phi \sim \mathrm{GRP}\Bigl(0, \frac{C_d\, \sigma_w(\Lambda)^2}{p^2 + m^2}\Bigr)",
           "erratum.eq86",
           "V = 0 gives a trained network without mean; the mean of the ensemble is k_> M Y. The covariance stated is that of phi, "
           "not of the rescaled field."),
    _paper("eq87", "Eq. (87)", "effective variance",
           r"\sigma_w(\Lambda)^2 \equiv \sum_i \Xi(\Lambda)_{ii} + \bar w(\Lambda)_i^2", "erratum.eq87",
           "The sum runs over both terms: a bracket is missing."),
    _paper("eq89", "Eq. (89)", "mass renormalisation",
           r"p^2 \mapsto \frac{p^2}{C_d\, \sigma_w^2(\Lambda)}, \qquad m^2 \mapsto \frac{m^2}{C_d\, \sigma_w^2(\Lambda)}",
           "erratum.eq89",
           "Both change by the same factor: that is the field rescaling (88), the pole and the correlation length do not move."),
    _paper("eq90", "Eq. (90)", "rescaled radius",
           r"C_d(\Lambda) = \frac{\sigma_w(\Lambda)^2 (2\pi)^d}{2\, \mathrm{Vol}(B^d_R)} "
           r"= \frac{(2\pi)^d}{\mathrm{Vol}(B^d_{R_\Lambda})}",
           "erratum.eq90",
           "A factor 2 is lost between the two forms, and the support of the spectrum stays |p| < R."),
    Erratum("slides_action", Reference(SLIDES, "slides, free scalar action"), "free scalar action of the slides",
            r"S[\phi] = \int d^dx\, \phi\, (\partial^2 + m^2)\, \phi", "erratum.eq84",
            "As (84): the factor 1/2 and the Euclidean sign."),
    Erratum("slides_beta", Reference(SLIDES, "slides, dependence of the quartic coupling on the cutoff"), "beta function of ReLU",
            r"\beta(\lambda) = -\lambda\, d_{\mathrm{in}}", "erratum.slides_beta",
            "It holds for bounded kernels (Erf); the ReLU kernel grows with the input and contributes 4 more powers of the box."),
)  # fmt: skip

_BAYES = (
    _talk("talk7", "Eq. (7)", "propagator or its inverse",
          r"P_\Lambda \propto e^{-\frac12 \int \phi\, G(p^2)\, K_\Lambda^{-1}\, \phi}\, e^{-S_{\mathrm{int}}}",
          "The text calls G the propagator; the weight needs the inverse propagator p^2 + m^2."),
    _talk("talk8", "Eqs. (5), (8)", "factor and sign of the flow",
          r"\frac{d}{d\ln\Lambda} P_\Lambda = \Delta P_\Lambda + \mathrm{div}(P_\Lambda\, \mathrm{grad}_C V_\Lambda)",
          "The right side needs the factor -1/2 (or -d/d ln Lambda on the left, as in T.5, and half of C)."),
    _talk("talk12", "Eq. (12)", "exponential family",
          r"p(y\,|\,\theta) = e^{\theta^i q_i(y)}", "The normalisation A(theta) is missing."),
    _talk("talk15", "Eq. (15)", "solution of the replicator equation",
          r"\pi_T(\theta) \propto e^{-T D_{\mathrm{KL}}(\theta_\ast \| \theta)}", "The prior is missing."),
    _talk("talk19", "Eq. (19)", "posterior of a location",
          r"\pi_T(\mu) = \mathcal{N}(\mu\,|\,\mu_\ast, \sigma^2/T)",
          "It holds for a flat prior and for data replaced by their expectation."),
    _talk("talk20", "below Eq. (20)", "diffusivity", r"D = \sigma^2",
          "The heat kernel of variance sigma^2 tau has the diffusivity sigma^2/2."),
    _talk("talk21", "Eq. (21)", "diffusion of the predictive law",
          r"\frac{\partial p}{\partial\tau} = -m^i \frac{\partial p}{\partial y^i} "
          r"+ \mathcal{I}^{ij} \frac{\partial^2 p}{\partial y^i\, \partial y^j}",
          "The second-order term has the factor 1/2, and the derivatives are with respect to theta outside location families."),
    _talk("talk_dictionary", "dictionary, row 1", "direction of the two scales",
          r"\ln\Lambda \leftrightarrow \tau = 1/T",
          "They run oppositely: sigma^2 tau corresponds to P_{Lambda_0} - P_Lambda, which grows as Lambda falls."),
    Erratum("note_energy", Reference(NOTE, "aside on the partition function"), "what marginalisation preserves",
            r"Z' = Z \;\Leftrightarrow\; e^{-H'(v)} = \sum_h e^{-H(v, h)}", "erratum.note_energy",
            "An invariant partition function is necessary, not sufficient; correlators need the weights of all configurations."),
)  # fmt: skip

GROUPS = (
    ("Actions, series and priors", _ACTIONS),
    ("The flow of the read-out", _FLOW),
    ("Cosine networks and free fields", _COSNET),
    ("Bayesian updating and Boltzmann machines", _BAYES),
)
"""Titles and records in the order of the section."""

ERRATA: tuple[Erratum, ...] = tuple(entry for _, entries in GROUPS for entry in entries)

DIFFERENCES = (
    Difference("law of the inputs", "N(0, 1)", "N((1, 1), 1)"),
    Difference("optimiser", "full-batch gradient descent", "per-sample descent in fixed order, one pass per epoch"),
    Difference("width of the last layer", "2000 (text, code)", "2048 (table, figure 7)"),
    Difference("seeds", "fixed inputs in figures 8, 10, 11", "they do nothing, so the figures mix inputs"),
    Difference("members", "all", "those with a loss above 1000 are left out"),
    Difference("flat up to the critical scale", "practically unchanged",
               "on a linear axis; redrawing the units with lambda = 0 alone multiplies the median loss by 5"),
    Difference("caption of slide 23 of the talk", "Cutoff 0.15680 parameters", "cutoff 0, 15680 parameters = 784 times 20"),
)  # fmt: skip
"""Settings that differ, and a caption: listed, not derived."""
