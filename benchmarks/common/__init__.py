"""What several studies need: gradient flow, norms, data, small nets, figures."""
