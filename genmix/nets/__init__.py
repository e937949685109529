"""Networks, and what they change about themselves."""

from genmix.nets import outputs, resampling, state, style
from genmix.nets.attention_window import Read, Window, Write
from genmix.nets.class_and_style import ClassAndStyle, balanced_logits
from genmix.nets.conv_decoder import ConvDecoder
from genmix.nets.conv_encoder import ConvEncoder
from genmix.nets.conv_stack import ConvStack
from genmix.nets.dcgan import DCGANCritic, DCGANGenerator
from genmix.nets.feature_critic import FeatureCritic, OnFeatures
from genmix.nets.gated_transition import GatedTransition
from genmix.nets.glow_network import GlowNetwork
from genmix.nets.group_norm import GroupNorm
from genmix.nets.instance_norm import InstanceNorm
from genmix.nets.joined import Added, Joined, JoinedChannels, Stacked
from genmix.nets.low_precision import LowPrecision
from genmix.nets.made import MADE
from genmix.nets.map_decoder import MapDecoder
from genmix.nets.map_encoder import MapEncoder
from genmix.nets.mlp import MLP
from genmix.nets.nade import NADE
from genmix.nets.pixel_cnn import GatedPixelCNN
from genmix.nets.pixel_rnn import DiagonalBiLSTM
from genmix.nets.recurrent import GRU, LSTM
from genmix.nets.rescale import Rescale
from genmix.nets.residual_translator import ResidualTranslator
from genmix.nets.row_lstm import RowLSTM
from genmix.nets.spectral_norm import SpectralNorm, spectrally_normalized
from genmix.nets.stepwise_made import StepwiseMADE
from genmix.nets.time_features import TimeFeatures
from genmix.nets.time_mlp import TimeMLP
from genmix.nets.u_net import UNet

__all__ = [
    "GRU",
    "LSTM",
    "MADE",
    "MLP",
    "NADE",
    "Added",
    "ClassAndStyle",
    "ConvDecoder",
    "ConvEncoder",
    "ConvStack",
    "DCGANCritic",
    "DCGANGenerator",
    "DiagonalBiLSTM",
    "FeatureCritic",
    "GatedPixelCNN",
    "GatedTransition",
    "GlowNetwork",
    "GroupNorm",
    "InstanceNorm",
    "Joined",
    "JoinedChannels",
    "LowPrecision",
    "MapDecoder",
    "MapEncoder",
    "OnFeatures",
    "Read",
    "Rescale",
    "ResidualTranslator",
    "RowLSTM",
    "SpectralNorm",
    "Stacked",
    "StepwiseMADE",
    "TimeFeatures",
    "TimeMLP",
    "UNet",
    "Window",
    "Write",
    "balanced_logits",
    "outputs",
    "resampling",
    "spectrally_normalized",
    "state",
    "style",
]
