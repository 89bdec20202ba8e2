"""What a reader might write, for mypy to read: `test_types` wants every type named and every mistake found."""

from typing import reveal_type

import numpy as np
import torch
from gaelib import (
    GAN,
    GGAE,
    LGAE,
    LLGAE,
    MPPCA,
    NMF,
    PPCA,
    TSNE,
    VAE,
    AttentionAutoencoder,
    DenoisingAutoencoder,
    GaussianMixture,
    KMeans,
    LinearRegression,
    LogisticRegression,
    Memory,
)
from gaelib.core import Exact, alternate, objective
from gaelib.joints.flats import Flats

X = np.ones((9, 3))
clusters = KMeans(2, tol=0.0).fit(X)
reveal_type(clusters)
reveal_type((clusters.cluster_centers_, clusters.labels_, clusters.inertia_, clusters.joint_, clusters.history_))
reveal_type((clusters.n_iter_, clusters.n_clusters, clusters.predict(X), clusters.transform(torch.ones(9, 3))))
reveal_type((clusters.inverse_transform(X), clusters.score_samples(X), clusters.score(X), clusters.fit_predict(X)))
flats = LLGAE(2, 1).fit(X)
reveal_type((flats.components_, flats.explained_variance_, flats.labels_, flats.joint_, flats.transform(X)))
plane = LGAE(1, solver="svd").fit(X)
reveal_type((plane.components_, plane.mean_, plane.explained_variance_, plane.joint_, plane.fit_transform(X)))
prob = PPCA(1).fit(X)
reveal_type((prob.noise_variance_, prob.mean_, prob.sample(3), prob.impute(X), prob.joint_, prob.transform(X)))
mixture = MPPCA(2, 1).fit(X)
reveal_type((mixture.weights_, mixture.means_, mixture.components_, mixture.noise_variance_, mixture.joint_))
reveal_type((mixture.predict_proba(X), mixture.predict(X), mixture.impute(X), mixture.sample(3), mixture.labels_))
reveal_type(GaussianMixture(2).fit(X).fit_predict(X))
kernels = GGAE(2, 1).fit(X)
reveal_type((kernels.cluster_centers_, kernels.prototypes_, kernels.joint_, kernels.transform(X)))
memory = Memory().fit(X)
reveal_type((memory.predict(X), memory.joint_, memory.inverse_transform(X)))
vae = VAE(1).fit(X)
reveal_type((vae.transform(X), vae.inverse_transform(X), vae.score_samples(X), vae.impute(X), vae.sample(3)))
denoiser = DenoisingAutoencoder().fit(X)
reveal_type((denoiser.sample(3, chain="langevin"), denoiser.score_field(X), GAN(1).fit(X).sample(3)))
heads = AttentionAutoencoder(1).fit(X)
reveal_type((heads.transform(X), heads.inverse_transform(X), heads.score_samples(X)))
reveal_type((NMF(2).fit(X).transform(X), TSNE().fit_transform(X)))
linear = LinearRegression().fit(X, X)
reveal_type((linear.coef_, linear.intercept_, linear.predict(X), linear.joint_, linear.score(X, X), linear.history_))
labels = LogisticRegression(C=2.0).fit(X, X[:, 0])
reveal_type((labels.classes_, labels.coef_, labels.predict(X), labels.predict_proba(X), labels.score_samples(X)))
joint = Flats(torch.ones(2, 3))
reveal_type((joint.argmax(torch.ones(9, 3)), joint.log_joints(torch.ones(9, 3)), joint.constant))
reveal_type((objective(joint, torch.ones(9, 3), Exact()), alternate(joint, [torch.ones(9, 3)], Exact(), 5)))

KMeans(n_clusters="ten")  # wrong
LGAE(n_components=1.5)  # wrong
LogisticRegression(C="strong")  # wrong
Flats("means")  # wrong
print(joint.argmax(X))  # wrong
