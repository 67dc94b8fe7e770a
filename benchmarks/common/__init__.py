"""What several studies need: gradient flow, figures. What one needs lies in its own folder."""
