"""The part of cloud_sync that runs in the cloud."""
