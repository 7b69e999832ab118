"""Wire types: what goes over the network, without behaviour."""
