"""What Mainstay is made of, below its APIs: engines, the gateway, metering, the catalog, identity."""
