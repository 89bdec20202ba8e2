# Written by tools/api.py.
from . import core, data, noise, parallel, pictures, plot
from .bars import explain
from .comparison import compare
from .joints import flats
from .models.attention import AttentionAutoencoder
from .models.autoencoder import VAE, Autoencoder
from .models.denoising import ContractiveAutoencoder, DenoisingAutoencoder
from .models.gan import GAN
from .models.generators import GLO, IMLE, GradientOrigin
from .models.ggae import GGAE
from .models.kmeans import KMeans
from .models.lgae import LGAE
from .models.lle import LocallyLinearEmbedding
from .models.llgae import LLGAE
from .models.memory import Memory
from .models.mppca import MPPCA, GaussianMixture
from .models.parts import NMF, SemiNMF, SparseCoding
from .models.ppca import PPCA
from .models.regression import LinearRegression, LogisticRegression
from .models.sensing import sense
from .models.tsne import TSNE
from .pictures import targets as terms
from .pictures.activation import activate
from .pictures.image_prior import deep_image_prior
from .saving import checkpoint, resume
from .verify import CheckFailed, check, glue

__version__: str
__all__ = [
    "GAN",
    "GGAE",
    "GLO",
    "IMLE",
    "LGAE",
    "LLGAE",
    "MPPCA",
    "NMF",
    "PPCA",
    "TSNE",
    "VAE",
    "AttentionAutoencoder",
    "Autoencoder",
    "CheckFailed",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "GaussianMixture",
    "GradientOrigin",
    "KMeans",
    "LinearRegression",
    "LocallyLinearEmbedding",
    "LogisticRegression",
    "Memory",
    "SemiNMF",
    "SparseCoding",
    "activate",
    "check",
    "checkpoint",
    "compare",
    "core",
    "data",
    "deep_image_prior",
    "explain",
    "flats",
    "glue",
    "noise",
    "parallel",
    "pictures",
    "plot",
    "resume",
    "sense",
    "terms",
]
