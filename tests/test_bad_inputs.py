"""What a user may get wrong, on the command line and in Python, and what he is told."""

import re
import sys
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments import iwae, linear_vae
from genmix import bounds, data, densities, objectives, processes, sharding
from genmix.data import binarization, idx, npz, packed
from genmix.evaluation import log_likelihood
from genmix.evaluation.bits_per_dim import bits_per_dim, bits_per_dim_logit
from genmix.families import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    FullNormal,
    GaussianMixture,
    LatentVariableModel,
    Normal,
    StandardNormal,
    log_weight,
)
from genmix.nets import MLP, ConvDecoder, ConvEncoder, Rescale
from genmix.runs import command_line, run_directory
from genmix.runs.checkpoints import Checkpoints
from genmix.runs.run_log import RunLog, read_metrics
from genmix.training import Plan, Player, Run, Validation, fit

X = np.zeros((10, 8), np.float32)
ADAM = optax.adam(1e-3)
NO_DENSITY = (
    "it has no density (neither log_prob nor log_weight), so maximum likelihood cannot train it. "
    "Use an adversarial term, or give it an invertible network."
)
ONE_EVENT = "one event per call, use jax.vmap for a batch."
SETS = (
    "digits, mnist, fashion-mnist, frey-faces, binarized-mnist, caltech-silhouettes, and "
    "images:FOLDER, npz:FILE, csv:FILE, tfds:NAME."
)
TINY = ["--steps", "5", "--k", "2", "--objective", "iwae", "--particles", "2"]


class Generator:
    def sample(self, key, cond=None):
        return jnp.zeros(2)


class Energy:
    def log_unnormalized(self, x, cond=None):
        return jnp.zeros(())


class Estimated(Generator):
    def log_weight(self, key, x, cond=None):
        return jnp.zeros(())


def key():
    return jax.random.key(0)


def rngs():
    return nnx.Rngs(0)


def parts(**others):
    own = {
        "prior": StandardNormal(2),
        "likelihood": Bernoulli(MLP(2, (4,), (8,), rngs=rngs())),
        "posterior": Normal(MLP((8,), (4,), 2, rngs=rngs())),
    }
    return LatentVariableModel(**own | others)


def player(**others):
    return Player(**{"loss": objectives.elbo(), "optimizer": ADAM} | others)


def plan(**others):
    return Plan(**{"num_rounds": 2, "batch_size": 4, "rounds_per_call": 1, **others})


def play(*players, model=None, x=X, **others):
    return fit(key(), model or parts(), players or [player()], x, plan(**others), Run(label=None))


def stream(source: Any = X, **others):
    options: dict[str, Any] = {"batch_size": 4, "seed": 0}
    return data.Stream(source, **options | others)


def logged(folder: Path, metrics: dict[str, float]):
    with RunLog(folder) as log:
        log.write(0, metrics)


def restored(folder: Path):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.restore({"x": jnp.zeros(1)})


def filled(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


IN_PYTHON = {
    # plans
    "no validation": (
        lambda tmp: plan(validation=Validation(lambda model: 0.0, every=0)),
        "validation.every must be at least 1, got 0.",
    ),
    "no patience": (
        lambda tmp: plan(validation=Validation(lambda model: 0.0, every=1, patience=0)),
        "validation.patience must be at least 1, got 0.",
    ),
    "no checkpoints": (
        lambda tmp: Run(checkpoint_every=0),
        "checkpoint_every must be at least 1, got 0.",
    ),
    # networks
    "a width of 0": (
        lambda tmp: MLP(8, (0,), 4, rngs=rngs()),
        "MLP needs positive sizes, got in_shape (8,), hidden (0,), out_shape (4,).",
    ),
    "a batch for an MLP": (
        lambda tmp: MLP(8, (4,), 4, rngs=rngs())(jnp.zeros((2, 8))),
        "MLP expects one event of shape (8,), got (2, 8); for a batch use jax.vmap.",
    ),
    "images without channels": (
        lambda tmp: ConvEncoder((28, 28), (8,), 4, rngs=rngs()),
        "ConvEncoder needs images [height, width, channels], got (28, 28).",
    ),
    "too many layers": (
        lambda tmp: ConvEncoder((28, 28, 1), (8, 8, 8), 4, rngs=rngs()),
        "ConvEncoder halves an image once for each entry of channels, here 3, so its sides must be "
        "multiples of 8, got (28, 28, 1); use fewer layers.",
    ),
    "no layers": (
        lambda tmp: ConvDecoder(4, (), (28, 28, 1), rngs=rngs()),
        "ConvDecoder needs positive sizes and at least one layer, got in_size 4, channels ().",
    ),
    "a scale of 0": (
        lambda tmp: Rescale(lambda x: x, loc=0.0, scale=0.0),
        "scale must be positive, got 0.0.",
    ),
    # parts
    "an empty event": (lambda tmp: StandardNormal(0), "shape must be positive, got (0,)."),
    "an event of another shape": (
        lambda tmp: StandardNormal(2).log_prob(jnp.zeros(3)),
        "StandardNormal expects one event of shape (2,), got (3,).",
    ),
    "an event of another shape for a mixture": (
        lambda tmp: GaussianMixture(4, 2, rngs=rngs()).log_prob(jnp.zeros(3)),
        "GaussianMixture expects one event of shape (2,), got (3,).",
    ),
    "no components": (
        lambda tmp: GaussianMixture(0, 2, rngs=rngs()),
        "num_components and dim must be positive, got 0 and 2.",
    ),
    "a smallest scale of 0": (
        lambda tmp: Normal(lambda c: c, min_scale=0.0),
        "min_scale must be positive, got 0.0.",
    ),
    "a network with too many numbers": (
        lambda tmp: Normal(lambda c: jnp.zeros(3)).log_prob(jnp.zeros(3)),
        "Normal needs 2 numbers for each entry, on the last axis of what its network gives, "
        "got (3,); the networks of genmix.nets are told so.",
    ),
    "a network for other images": (
        lambda tmp: Bernoulli(lambda c: jnp.zeros(4)).log_prob(jnp.zeros(3)),
        "Bernoulli's network gives events of shape (4,), got x of (3,).",
    ),
    "a network for other classes": (
        lambda tmp: Categorical(lambda c: jnp.zeros((4, 3)), num_levels=3).log_prob(
            jnp.zeros(3, jnp.int32)
        ),
        "Categorical's network gives events of shape (4,), got x of (3,).",
    ),
    "one grey level": (
        lambda tmp: DiscretizedLogistic(lambda c: c, num_levels=1),
        "num_levels must be at least 2, got 1.",
    ),
    "too few entries for a covariance": (
        lambda tmp: FullNormal(lambda c: jnp.zeros(4), 2).log_prob(jnp.zeros(2)),
        "FullNormal needs 5 numbers for each entry, on the last axis of what its network gives, "
        "got (4,); the networks of genmix.nets are told so.",
    ),
    # roles
    "a generator as the prior": (
        lambda tmp: parts(prior=Generator()),
        f"Generator cannot be the prior: {NO_DENSITY}",
    ),
    "nothing as the prior": (
        lambda tmp: parts(prior=None),
        f"NoneType cannot be the prior: {NO_DENSITY}",
    ),
    "an energy as the likelihood": (
        lambda tmp: parts(likelihood=Energy()),
        "Energy cannot be the likelihood: its density is not normalized (it has log_unnormalized, "
        "but neither log_prob nor log_weight). Estimate its normalizer, or use a normalized "
        "density.",
    ),
    "an energy as the posterior": (
        lambda tmp: parts(posterior=Energy()),
        "Energy cannot be the posterior: it has neither sample_and_log_prob nor sample.",
    ),
    "a generator as the posterior": (
        lambda tmp: parts(posterior=Generator()),
        "Generator cannot be the posterior: it draws samples but has no log_prob, and the weight "
        "p(x, z) / q(z | x) needs q. Give it sample_and_log_prob, or log_prob beside sample.",
    ),
    "an estimate as the posterior": (
        lambda tmp: parts(posterior=Estimated()),
        "Estimated cannot be the posterior: it draws samples but has no log_prob, and an unbiased "
        "log_weight is not enough in the denominator of a weight. Give it sample_and_log_prob, or "
        "log_prob beside sample.",
    ),
    "a generator's log-weight": (
        lambda tmp: log_weight(cast(Any, Generator()), key(), jnp.zeros(2)),
        f"Generator cannot be the density of x: {NO_DENSITY}",
    ),
    "the mean of what has none": (
        lambda tmp: parts(likelihood=Estimated()).decode(jnp.zeros(2)),
        "Estimated has no mean, so decode(z) is not defined: draw from likelihood.sample(key, z).",
    ),
    "a closed rate to a mixture": (
        lambda tmp: parts(prior=GaussianMixture(2, 2, rngs=rngs())).closed_rate(jnp.zeros(8)),
        "KL(Normal || GaussianMixture) has no closed form: use the sampled rate (analytic=False).",
    ),
    "a prior of another dimension": (
        lambda tmp: parts(prior=StandardNormal(3)).log_weight(key(), jnp.zeros(8)),
        "The parts of LatentVariableModel do not fit each other: z has shape (3,) for the prior, "
        "(2,) for the posterior, (2,) for the likelihood's condition. Give them the same shape; a "
        "likelihood's or posterior's is that of its network.",
    ),
    # objectives
    "no particles": (lambda tmp: objectives.iwae(0), "num_particles must be at least 1, got 0."),
    "a leave-one-out of one": (
        lambda tmp: objectives.vimco(1),
        "num_particles must be at least 2 for VIMCO, got 1.",
    ),
    "a baseline of one": (
        lambda tmp: bounds.baselines.mean_of_others(jnp.zeros(1)),
        "leave_one_out needs at least 2 particles, got 1: raise num_particles.",
    ),
    "an order of infinity": (
        lambda tmp: objectives.renyi(float("inf"), 2),
        "alpha must be finite, got inf; alpha = -inf is vr_max.",
    ),
    "second derivatives of a maximum": (
        lambda tmp: objectives.vr_max(2, estimator=bounds.doubly_reparameterized),
        "vr_max is not twice differentiable in the log-weights, so doubly reparameterized "
        "gradients of it are biased: use the reparameterized or the resampled estimator.",
    ),
    "a negative beta": (
        lambda tmp: objectives.elbo(rate=objectives.Rate(beta=-1.0)),
        "beta and free_nats must not be negative, got -1.0 and 0.0.",
    ),
    "a decay of 1": (
        lambda tmp: bounds.baselines.running_mean(decay=1.0),
        "decay must be in [0, 1), got 1.0.",
    ),
    "two terms of one name": (
        lambda tmp: play(player(loss=objectives.elbo() + objectives.elbo())),
        "two terms of one objective both report elbo, log_likelihood, rate: give one of them "
        "another name.",
    ),
    "a bound of what has no density": (
        lambda tmp: play(model=nnx.Dict(encoder=MLP(8, (4,), 4, rngs=rngs()))),
        f"Dict cannot be the model of a likelihood bound: {NO_DENSITY}",
    ),
    # players and plans
    "a player without steps": (
        lambda tmp: player(steps=0),
        "player 'model' must take at least 1 step, got 0.",
    ),
    "a part without parameters": (
        lambda tmp: play(player(owns=("prior",))),
        "player 'model' owns 'prior', where the model has no parameters; it has some under "
        "likelihood, posterior.",
    ),
    "a part that is not there": (
        lambda tmp: play(player(owns=("decoder",))),
        "player 'model' owns 'decoder', where the model has no parameters; it has some under "
        "likelihood, posterior.",
    ),
    "a model without parameters": (
        lambda tmp: play(model=StandardNormal(8)),
        "player 'model' owns no parameters: the model has none.",
    ),
    "two players of one name": (
        lambda tmp: play(player(), player()),
        "players need distinct names, got ['model', 'model'].",
    ),
    "a batch in unequal parts": (
        lambda tmp: play(player(examples_at_once=3)),
        "batch_size must be a multiple of examples_at_once, 3; got 4.",
    ),
    "no rounds": (lambda tmp: plan(num_rounds=0), "num_rounds must be at least 1, got 0."),
    "an average that never moves": (
        lambda tmp: plan(average_decay=1.0),
        "average_decay must be in [0, 1), got 1.0.",
    ),
    "a resumption of nothing": (
        lambda tmp: Run(resume=True),
        "resume needs the directory of the run to go on with.",
    ),
    "a validation between two reports": (
        lambda tmp: plan(validation=Validation(lambda model: 0.0, 3), rounds_per_call=2),
        "validation.every, 3, must be a multiple of rounds_per_call, 2.",
    ),
    "a batch larger than the data": (
        lambda tmp: play(batch_size=11),
        "batch_size must be between 1 and the number of examples, 10; got 11.",
    ),
    "data of another width": (
        lambda tmp: play(x=X[:, :7]),
        "MLP expects one event of shape (8,), got (7,); for a batch use jax.vmap.",
    ),
    # meshes and processes
    "a mesh of no devices": (
        lambda tmp: sharding.make_mesh(data=0),
        r"re:the mesh data=0,particle=1 needs 0 devices, but there are (\d+): choose sizes whose "
        r"product is \1\.",
    ),
    "a mesh of more devices": (
        lambda tmp: sharding.parse("data=3,particle=5"),
        r"re:the mesh data=3,particle=5 needs 15 devices, but there are (\d+): choose sizes whose "
        r"product is \1\.",
    ),
    "an axis named twice": (
        lambda tmp: sharding.parse("data=2,data=2"),
        "a mesh is described as data=D,particle=P with whole numbers, got 'data=2,data=2'.",
    ),
    "an unknown axis": (
        lambda tmp: sharding.parse("rows=2"),
        "a mesh is described as data=D,particle=P with whole numbers, got 'rows=2'.",
    ),
    "a process beyond the last": (
        lambda tmp: processes.join("host:1,2/2"),
        "processes are described as auto or HOST:PORT,I/N with I from 0 to N - 1 and PORT "
        "from 1 to 65535, such as "
        "10.0.0.1:1234,0/2; got 'host:1,2/2'.",
    ),
    # data
    "a data set mistyped": (
        lambda tmp: data.load("nmist"),
        f"there is no data set 'nmist' (did you mean mnist?); there are {SETS}",
    ),
    "a data set without its folder": (
        lambda tmp: data.load("frey-faces"),
        "re:this data set is read from files, frey_faces/.* among them: pass the folder that "
        r"holds frey_faces/ as data_dir \(on a command line: --data-dir DIR\)\.",
    ),
    "a folder that is not there": (
        lambda tmp: data.load("mnist", tmp / "nowhere"),
        "expected {tmp}/nowhere/mnist/train-labels-idx1-ubyte(.gz), but {tmp}/nowhere is not a "
        "folder: pass the folder that holds mnist/ as data_dir (on a command line: --data-dir "
        "DIR).",
    ),
    "a folder without the files": (
        lambda tmp: data.load("binarized-mnist", tmp),
        "re:expected {tmp}/binarized_mnist/.*, but there is no such file: pass the folder that "
        r"holds binarized_mnist/ as data_dir \(on a command line: --data-dir DIR\)\.",
    ),
    "labels of another set": (
        lambda tmp: data.load(
            "mnist",
            filled(
                tmp / "mnist", "train-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x0a" + bytes(10)
            ).parent,
        ),
        "{tmp}/mnist/train-labels-idx1-ubyte starts with labels (0, 0, 0, 0, 0), expected (5, 0, "
        "4, 1, 9): it is not the training part of mnist.",
    ),
    "bits where grey levels are wanted": (
        lambda tmp: data.load("caltech-silhouettes", tmp, pixels="levels"),
        "there are no grey levels of 'caltech-silhouettes', which has bits: take pixels='bits', or "
        "one of digits, mnist, fashion-mnist, frey-faces.",
    ),
    "an unknown TensorFlow data set": (
        lambda tmp: data.load("tfds:no_such_set", tmp),
        "TFDS knows no data set 'no_such_set'.",
    ),
    "no IDX file": (
        lambda tmp: idx.read(filled(tmp, "x", b"PNG\0\0\0\0\0")),
        "{tmp}/x is not an IDX file: it starts with bytes 50 4e 47 00, expected 00 00.",
    ),
    "no archive": (
        lambda tmp: npz.read(filled(tmp, "x", b"PNG\0\0\0\0\0"), "rows"),
        "{tmp}/x is a damaged NPZ archive: File is not a zip file.",
    ),
    "rows of no width": (
        lambda tmp: packed.read_bits(tmp / "x", "rows", 0),
        "width must be at least 1, got 0.",
    ),
    "grey levels as probabilities": (
        lambda tmp: binarization.binarize_once(np.array([0.0, 255.0]), 0),
        "probabilities must lie in [0, 1], got values from 0.0 to 255.0; divide grey levels by "
        "their largest value first.",
    ),
    "a batch of a stream of nothing": (
        lambda tmp: stream(batch_size=0),
        "batch_size must be between 1 and the number of examples, 10; got 0.",
    ),
    "a shard of another stream": (
        lambda tmp: stream(shard=(2, 2)),
        "shard must be (index, count) with 0 <= index < count, and count must divide batch_size, "
        "4; got (2, 2).",
    ),
    "arrays of unequal lengths": (
        lambda tmp: stream((X, X[:3])),
        "the arrays of source must have as many examples each, along their first axes; got "
        "source[0] 10, source[1] 3.",
    ),
    "a negative seed": (lambda tmp: stream(seed=-1), "seed must be at least 0, got -1."),
    # evaluation and densities
    "an estimate from no particles": (
        lambda tmp: log_likelihood(key(), parts(), X, num_particles=0),
        "num_particles must be at least 1, got 0.",
    ),
    "an estimate of no events": (
        lambda tmp: log_likelihood(key(), parts(), X[:0], num_particles=1),
        "the number of events must be at least 1, got 0.",
    ),
    "bits of no dimension": (
        lambda tmp: bits_per_dim(-1.0, 0),
        "num_dims must be at least 1, got 0.",
    ),
    "too wide a margin": (
        lambda tmp: bits_per_dim_logit(np.ones(1), np.ones((1, 1)), margin=0.5),
        "margin must be between 0 and 1/2, got 0.5.",
    ),
    "a location of another length": (
        lambda tmp: densities.multivariate_normal.log_prob(jnp.zeros(3), jnp.zeros(2), jnp.eye(2)),
        f"x must have shape (2,), got (3,): {ONE_EVENT}",
    ),
    "a sphere that is two points": (
        lambda tmp: densities.von_mises_fisher.entropy(jnp.ones(1), 1.0),
        "mean_direction must have at least 2 entries, got 1: the sphere of R^1 is two points.",
    ),
    "a negative order": (
        lambda tmp: densities.bessel.log_bessel_i(-1.0, 1.0),
        "order must be finite and at least 0, got -1.0.",
    ),
    # runs and their files
    "a file for a directory": (
        lambda tmp: run_directory.prepare(filled(tmp, "x", b""), {}, resume=False),
        "{tmp}/x is a file, so a run cannot be kept there; pass another --out.",
    ),
    "a run that is not there": (
        lambda tmp: run_directory.prepare(tmp, {}, resume=True),
        "There is no run to resume in {tmp}, for it has no config.json; leave out --resume to "
        "start one, or pass the --out of the run.",
    ),
    "a run that is there": (
        lambda tmp: [run_directory.prepare(tmp, {}, resume=False) for _ in range(2)],
        "{tmp} already holds a run; pass --resume to continue it, or another --out to start a new "
        "one.",
    ),
    "a configuration that is none": (
        lambda tmp: run_directory.prepare(
            filled(tmp, "config.json", b"[1, 2]").parent, {}, resume=True
        ),
        "{tmp}/config.json is damaged (it holds no fields); repair it, or start a new run with "
        "another --out.",
    ),
    "metrics that are none": (
        lambda tmp: read_metrics(filled(tmp, "x", b'{"step": 1.5, "time": 0}\n{}\n')),
        "{tmp}/x, line 1, is not a line of metrics: its step is 1.5",
    ),
    "a metric called time": (
        lambda tmp: logged(tmp, {"time": 1.0}),
        'A metric cannot be called "time", which every line has.',
    ),
    "no checkpoints kept": (
        lambda tmp: Checkpoints(tmp, keep_last=0),
        "keep_last must be at least 1, got 0.",
    ),
    "no checkpoint": (
        restored,
        "There is no checkpoint in {tmp}; steps there: [].",
    ),
}


@pytest.mark.parametrize("name", IN_PYTHON)
def test_in_python(name, tmp_path):
    call, message = IN_PYTHON[name]
    with pytest.raises((ValueError, TypeError, OSError)) as error:
        call(tmp_path)
    got = " ".join(str(error.value).split()).replace(str(tmp_path), "{tmp}")
    if message.startswith("re:"):
        assert re.fullmatch(message.removeprefix("re:").replace("{tmp}", re.escape("{tmp}")), got)
    else:
        assert got == message


ON_THE_COMMAND_LINE = {
    "a negative epsilon": (
        iwae,
        ["--adam-epsilon", "-1"],
        "Error parsing Config: adam_epsilon must be positive, got -1.0.",
    ),
    "no objective": (
        iwae,
        ["--objective"],
        "Error parsing Config: objective must name at least one, got ().",
    ),
    "a negative learning rate": (
        linear_vae,
        ["--learning-rate", "-1"],
        "Error parsing Config: learning_rate must be positive, got -1.0.",
    ),
    "the digits' run to go on with": (
        linear_vae,
        ["--resume"],
        "Error parsing Config: resume needs --out DIR, the run to go on with.",
    ),
    "k 0": (iwae, ["--k", "0"], "Error parsing Config: k must be at least 1, got (0,)."),
    "k in words": (
        iwae,
        ["--k", "two"],
        "Error parsing --k: Could not find valid parse for arguments: ['two']",
    ),
    "no steps": (
        iwae,
        ["--steps", "0"],
        "Error parsing Config: steps must be at least 1, got 0.",
    ),
    "half a step": (
        iwae,
        ["--steps", "1.5"],
        "Error parsing --steps: invalid literal for int() with base 10: '1.5'",
    ),
    "a negative batch": (
        iwae,
        ["--batch-size", "-1"],
        "Error parsing Config: batch_size must be at least 1, got -1.",
    ),
    "a learning rate of NaN": (
        iwae,
        ["--learning-rate", "nan"],
        "Error parsing Config: learning_rate must be positive, got nan.",
    ),
    "a learning rate in words": (
        iwae,
        ["--learning-rate", "fast"],
        "Error parsing --learning-rate: could not convert string to float: 'fast'",
    ),
    "no particles": (
        linear_vae,
        ["--particles", "0"],
        "Error parsing Config: particles must be at least 1, got 0.",
    ),
    "more components than pixels": (
        linear_vae,
        ["--latent", "64"],
        "Error parsing Config: latent must be from 1 to 63, got 64.",
    ),
    "an unknown objective": (
        iwae,
        ["--objective", "evidence"],
        "invalid choice 'evidence' for argument '--objective'. Expected one of ('elbo', 'iwae', "
        "'renyi', 'vr-max').",
    ),
    "three layers": (
        iwae,
        ["--layers", "3"],
        "invalid choice '3' for argument '--layers'. Expected one of ('1', '2').",
    ),
    "an unknown precision": (
        iwae,
        ["--precision", "fp8"],
        "invalid choice 'fp8' for argument '--precision'. Expected one of ('float32', 'bf16').",
    ),
    "an unknown option": (iwae, ["--momentum", "1"], "Unrecognized options: --momentum, 1"),
    "a resumption of nothing": (
        iwae,
        ["--resume"],
        "Error parsing Config: resume needs --out DIR, the run to go on with.",
    ),
    "processes without a mesh": (
        iwae,
        ["--processes", "auto"],
        "Error parsing Config: processes need --mesh, over the devices of all, and --out.",
    ),
    "a run that is not there": (
        iwae,
        [*TINY, "--resume", "--out", "{tmp}/none"],
        "error: There is no run to resume in {tmp}/none, for it has no config.json; leave out "
        "--resume to start one, or pass the --out of the run.",
    ),
    "a data set mistyped": (
        iwae,
        [*TINY, "--dataset", "digit"],
        f"error: there is no data set 'digit' (did you mean digits?); there are {SETS}",
    ),
    "a data set without its folder": (
        iwae,
        [*TINY, "--dataset", "mnist"],
        "error: this data set is read from files, mnist/train-labels-idx1-ubyte(.gz) among them: "
        "pass the folder that holds mnist/ as data_dir (on a command line: --data-dir DIR).",
    ),
    "a batch larger than the data": (
        iwae,
        [*TINY, "--batch-size", "5000"],
        "error: batch_size must be at most 1437, the training images of digits; got 5000.",
    ),
    "early stopping without validation": (
        iwae,
        [*TINY, "--patience", "2", "--out", "{tmp}/run"],
        "error: digits has no validation images, so it cannot stop early: leave out --patience.",
    ),
    "an order that is no number": (
        iwae,
        [*TINY, "--objective", "renyi", "--alpha", "nan", "--out", "{tmp}/run"],
        "Error parsing Config: --objective renyi with --k 2 and --estimator reparameterized do not "
        "go together: alpha must be finite, got nan; alpha = -inf is vr_max.",
    ),
    "a mesh without axes": (
        iwae,
        [*TINY, "--mesh", "8", "--out", "{tmp}/run"],
        "error: a mesh is described as data=D,particle=P with whole numbers, got '8'.",
    ),
    "a host without a port": (
        iwae,
        [*TINY, "--processes", "here", "--mesh", "data=1", "--out", "{tmp}/run"],
        "error: processes are described as auto or HOST:PORT,I/N with I from 0 to N - 1 and PORT "
        "from 1 to 65535, such as "
        "10.0.0.1:1234,0/2; got 'here'.",
    ),
}


@pytest.mark.parametrize("name", ON_THE_COMMAND_LINE)
def test_on_the_command_line(name, tmp_path, monkeypatch, capsys):
    experiment, arguments, message = ON_THE_COMMAND_LINE[name]
    arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as exit:
        command_line.run(experiment.main, experiment.Config)
    assert exit.value.code == 2
    told = capsys.readouterr().err.replace(str(tmp_path), "{tmp}")
    lines = [line.strip("│|─- \n") for line in told.splitlines()]
    assert message in lines
    assert "Traceback" not in told
