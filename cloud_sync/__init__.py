"""Carts up, bundles down, over MQTT."""
