"""The choices of the grid, and which of them cannot go together."""

import dataclasses
from typing import Annotated, Literal, get_args

import tyro

from experiments import study
from experiments.grid import inference
from experiments.study.estimators import Estimator, Objective, bound

Prior = Literal["normal", "gmm", "vamp", "maf", "realnvp", "hierarchical", "diffusion", "rbm"]
_FORMS = "{" + ",".join([*get_args(inference.Plain)]) + "}[+WRAPPER:N...]"
Posterior = Annotated[str, tyro.conf.arg(metavar=_FORMS)]
Decoder = Literal["bernoulli-mlp", "bernoulli-conv", "discretized-logistic", "made", "pixelcnn"]
Adversarial = Literal["none", "data", "latent", "joint"]
Critic = Literal["non-saturating", "minimax", "least-squares", "hinge", "wasserstein"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """What cannot be combined is refused with the reason, before anything is written."""

    prior: Prior = "normal"
    """Of z; hierarchical is a model with a second layer of half the width; a diffusion knows a
    bound alone, which is for the ELBO; an rbm, of real numbers under 20 bits, is trained up to
    its normalizer, by chains."""
    posterior: Posterior = "diagonal"
    """Of z given x; flows start from a diagonal normal and are given the encoder's features. Around
    it, the innermost first: hamiltonian:N leapfrog steps, resampled:N draws of which one is chosen,
    optimized:N gradient steps on each image; optimized:20 alone is around a diagonal one."""
    decoder: Decoder = "bernoulli-mlp"
    """Of x given z; discretized-logistic takes grey levels. In made and pixelcnn pixels see those
    before them."""
    objective: Objective = "elbo"
    k: study.Count = 1
    """Particles in training."""
    estimator: Estimator = "reparameterized"
    """Gradient estimator; score-function uses leave-one-out baselines (VIMCO for iwae)."""
    alpha: float = 0.5
    """Order of the Rényi objective."""
    beta: study.NotNegative = 1.0
    """Weight of the rate in the ELBO."""
    mmd: study.NotNegative = 0.0
    """Weight of the MMD between the aggregated posterior and the prior."""
    adversarial: Adversarial = "none"
    """What a critic compares: data with samples, latents with the prior's, or pairs of both. Draws
    of x have the gradient of their mean."""
    critic: Critic | None = None
    """Loss of the game; non-saturating if not given. The penalty is R1, WGAN-GP for wasserstein."""
    critic_network: Literal["dcgan", "growing"] | None = None
    """Of a critic of data; a network like the encoder if not given."""
    weight: study.Positive | None = None
    """Of the generator's loss; 1 if not given."""
    k_critic: study.Count | None = None
    """Steps of the critic for one of the model; 1 if not given."""
    sylvester: Literal["orthogonal", "householder", "triangular"] | None = None
    """Kind of Sylvester flow; orthogonal if not given."""
    flow_layers: study.Count = 4
    """Layers of a flow, in prior and posterior."""
    components: study.Count = 50
    """Components of a gmm or vamp prior."""
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count | None = None
    """Width of the fully connected layers; 100 for the digits, 300 for larger images."""
    width: study.Count = 32
    """Channels of the PixelCNN."""
    steps: study.Count = 5000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 1000
    """Particles of the NLL estimate."""

    def __post_init__(self):
        super().__post_init__()
        inference.parse(self.posterior)
        if self.objective != "elbo" and self.k == 1:
            raise ValueError(
                f"{self.objective} of one particle is the ELBO: use --k 2 or more, or --objective "
                "elbo."
            )
        if self.sylvester is not None and self.inference.plain != "sylvester":
            raise ValueError(
                f"--sylvester {self.sylvester} is a kind of --posterior sylvester, got "
                f"{self.posterior}."
            )
        if self.prior == "realnvp" and self.latent < 2:
            raise ValueError("realnvp couples two parts of z: use --latent 2 or more.")
        self._check_terms()
        bound(self.objective, self.k, self.estimator, alpha=self.alpha, beta=self.beta)

    def _check_terms(self) -> None:
        if self.critic_network is not None and self.adversarial in ("latent", "joint"):
            raise ValueError(
                f"--critic-network {self.critic_network} is of images alone, and --adversarial "
                f"{self.adversarial} compares others: use --adversarial data, or leave it out."
            )
        if self.beta != 1 and self.objective != "elbo":
            raise ValueError(
                f"--beta weighs the rate, a term of the ELBO that {self.objective} cannot be taken "
                "apart into: use --objective elbo."
            )
        if self.mmd and self.batch_size < 2:
            raise ValueError(
                f"an MMD compares pairs of events: use --batch-size 2 or more, got "
                f"{self.batch_size}."
            )
        if self.adversarial == "none":
            for name in ("critic", "critic_network", "weight", "k_critic"):
                if getattr(self, name) is not None:
                    flag = name.replace("_", "-")
                    raise ValueError(
                        f"--{flag} {getattr(self, name)} is of a game, and --adversarial none has "
                        "none: use --adversarial data, latent or joint."
                    )
        elif self.adversarial != "latent" and self.decoder in ("made", "pixelcnn"):
            raise ValueError(
                f"the draws of a {self.decoder} have no gradient, and no mean whose gradient could "
                f"stand for it, so a critic of {self.adversarial} teaches it nothing: use "
                "--adversarial latent, or another --decoder."
            )

    @property
    def inference(self) -> inference.Inference:
        return inference.parse(self.posterior)

    @property
    def name(self) -> str:
        posterior = self.posterior + (f" ({self.sylvester})" if self.sylvester else "")
        return f"{self.prior}, {posterior}, {self.decoder}"

    @property
    def terms(self) -> str:
        """The objective as a sum, such as "elbo beta=4 + 10 mmd + 1 hinge(latent)"."""
        bound = self.objective + (f" k={self.k}" if self.k > 1 else "")
        bound += f" beta={self.beta:g}" if self.beta != 1 else ""
        sum_of = [bound] + [f"{self.mmd:g} mmd"] * bool(self.mmd)
        if self.adversarial != "none":
            weight = 1.0 if self.weight is None else self.weight
            sum_of.append(f"{weight:g} {self.critic or 'non-saturating'}({self.adversarial})")
        return " + ".join(sum_of)
