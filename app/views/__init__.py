"""Pages: one module, one render() each."""
