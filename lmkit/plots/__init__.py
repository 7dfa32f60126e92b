"""Pictures: what a chart shows as values, and one way to draw it, as SVG."""
