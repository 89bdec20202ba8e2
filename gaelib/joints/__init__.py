"""What the joint is: points and flats, linear Gaussians, mixtures."""
