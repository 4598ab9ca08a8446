"""An in-memory Kubernetes API server with its moving parts: scheduler, kubelet, controllers."""
