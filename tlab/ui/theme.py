"""The look of the app on Gradio's base theme; what is drawn has its colours in `widgets/style.css`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from gradio.themes import Base
from gradio.themes.utils.colors import Color
from gradio.themes.utils.fonts import LocalFont, font_dir_name

FONTS = Path(__file__).parent / "fonts"
LATIN = "U+0000-00FF,U+0131,U+0152-0153,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+2000-206F,U+20AC,U+2122,U+2191,U+2193,U+2212"
OTHER_LETTERS = "U+0100-0130,U+0132-0151,U+0154-02BA,U+0370-052F,U+1E00-1EFF"

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
    "checkbox_border_color": ("#8b9bb0", "#7d8ea6"),
}


class LightFont(LocalFont):
    """A font that Gradio ships, its Latin letters inside of the style sheet: the other files are asked for when needed.

    A whole file has 56 kB, its Latin letters 17: without hints for screens of so few pixels that curves need help.
    """

    def stylesheet(self) -> dict[str, Any]:
        """The rules for both."""
        rules = [latin_rule(self.name, weight) for weight in self.weights]
        others = str(super().stylesheet()["css"]).replace("}", f"    unicode-range: {OTHER_LETTERS};\n}}")
        return {"url": None, "css": "\n".join([*rules, others])}


def latin_rule(name: str, weight: int) -> str:
    file = base64.b64encode((FONTS / f"{font_dir_name(name)}-{weight}.woff2").read_bytes()).decode()
    return (
        f"@font-face {{ font-family: '{name}'; font-weight: {weight}; unicode-range: {LATIN}; "
        f"src: url('data:font/woff2;base64,{file}') format('woff2'); }}"
    )


def lab_theme() -> Base:
    """Quiet surfaces, one blue. Nothing is loaded from elsewhere."""
    theme = Base(
        primary_hue=BLUE_SHADES, secondary_hue=BLUE_SHADES, neutral_hue="slate",
        spacing_size="sm", radius_size="lg", text_size="md",
        # Bold and not semibold, of which Gradio ships a file that lacks half the alphabet.
        font=(LightFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(LightFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "Consolas", "monospace"),
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
