"""What flow_priors and flow_posteriors share: a VAE with a flow, trained and evaluated alike."""
