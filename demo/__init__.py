"""The bundled small model, the gallery and the programs that make and measure them."""
