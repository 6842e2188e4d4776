"""The look of the app on Gradio's base theme; what is drawn has its colours in `widgets/style.css`."""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils.colors import Color
from gradio.themes.utils.fonts import LocalFont

# Shades around the blue of Okabe and Ito, 0072b2.
BLUE_SHADES = Color(
    name="lab-blue",
    c50="#eef6fb", c100="#d7eaf6", c200="#add4ec", c300="#7dbbe0", c400="#56b4e9", c500="#0072b2",
    c600="#00639c", c700="#005282", c800="#003f64", c900="#002c47", c950="#001c2f",
)  # fmt: skip
LIGHT_AND_DARK = {
    "body_background_fill": ("#f4f7fa", "#0d1523"),
    "background_fill_primary": ("#ffffff", "#162032"),
    "background_fill_secondary": ("#f4f7fa", "#111a2a"),
    "block_background_fill": ("#ffffff", "#162032"),
    "block_border_color": ("#dfe6ee", "#26334a"),
    "border_color_primary": ("#dfe6ee", "#26334a"),
    "block_info_text_color": ("#5b6b80", "#a3b1c4"),
    "button_primary_background_fill": ("#0072b2", "#0072b2"),
    "button_primary_background_fill_hover": ("#00639c", "#0083cc"),
    "button_primary_text_color": ("#ffffff", "#ffffff"),
    "button_secondary_background_fill": ("#ffffff", "#1d293d"),
    "button_secondary_border_color": ("#c9d4e0", "#33435c"),
    "input_background_fill": ("#ffffff", "#111a2a"),
    "input_border_color": ("#c9d4e0", "#33435c"),
}


def lab_theme() -> Base:
    """Quiet surfaces, one blue. The fonts come with Gradio: nothing is loaded from elsewhere."""
    theme = Base(
        primary_hue=BLUE_SHADES, secondary_hue=BLUE_SHADES, neutral_hue="slate",
        spacing_size="sm", radius_size="lg", text_size="md",
        # Bold and not semibold, of which Gradio ships a file that lacks half the alphabet.
        font=(LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "Consolas", "monospace"),
    )  # fmt: skip
    pairs = {name: light for name, (light, _) in LIGHT_AND_DARK.items()}
    pairs |= {f"{name}_dark": dark for name, (_, dark) in LIGHT_AND_DARK.items()}
    return theme.set(
        **pairs,
        block_border_width="1px",
        input_border_width="1px",
        block_label_text_color="#334155",
        block_title_text_weight="600",
        button_secondary_border_color_hover="#0072b2",
    )
