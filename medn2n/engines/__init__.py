"""One network, run fast: OpenVINO on processors, torch on GPUs."""
