"""The part of cloud_sync that runs on the device."""
