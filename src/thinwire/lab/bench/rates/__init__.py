"""Rate-distortion curves and speeds on recorded updates: ours, rivals, and what a plain coder has to pay."""
