"""Every setting and its default, once: dataclasses, and TOML recipes to and from them."""
