"""States of discrete latent variables, joint and layer by layer: enumerated, excluded, and moved by Gibbs."""
