"""Published rows: the paper's tables (arXiv 2510.22946), and for the benchmarks that take thinking those of the think
variant's project page (VQ-VA World) and of the benchmarks themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Figures = Sequence["float | None"]


@dataclass(frozen=True, slots=True)
class Table:
    """A benchmark's table. Its last column is the score that models are ranked by.

    digits: behind the point. source: where the rows come from.
    """

    title: str
    columns: Sequence[str]
    digits: int
    rows: Mapping[str, Figures]
    source: str


TABLES = {
    "geneval": Table(
        "GenEval",
        ("single", "two", "counting", "colors", "position", "attribution", "overall"),
        2,
        {
            "LightFusion, long prompts": (1.00, 0.97, 0.93, 0.94, 0.79, 0.81, 0.91),
            "BAGEL, long prompts": (0.98, 0.95, 0.84, 0.95, 0.78, 0.77, 0.88),
            "OmniGen2, long prompts": (0.99, 0.96, 0.74, 0.98, 0.71, 0.75, 0.86),
            "UniWorld-V1, long prompts": (0.98, 0.93, 0.81, 0.89, 0.74, 0.71, 0.84),
            "Ovis-U1, long prompts": (0.98, 0.98, 0.90, 0.92, 0.79, 0.75, 0.89),
            "UniPic": (0.98, 0.92, 0.74, 0.91, 0.89, 0.72, 0.86),
            "SD3-medium": (0.99, 0.94, 0.72, 0.89, 0.33, 0.60, 0.74),
            "FLUX.1-dev": (0.99, 0.81, 0.79, 0.74, 0.20, 0.47, 0.67),
        },
        "arXiv 2510.22946",
    ),
    "shapes": Table(
        "nano's own world, in GenEval's form",
        ("single", "two", "counting", "colors", "position", "attribution", "overall"),
        2,
        {},
        "nothing, as this program judges it; these are no GenEval scores",
    ),
    "dpg": Table(
        "DPG-Bench",
        ("global", "entity", "attribute", "relation", "other", "overall"),
        2,
        {
            "LightFusion": (87.13, 89.59, 87.58, 90.22, 90.44, 82.16),
            "BAGEL": (88.94, 90.37, 91.29, 90.82, 88.67, 85.07),
            "OmniGen2": (88.81, 88.83, 90.18, 89.37, 90.27, 83.57),
            "UniWorld-V1": (83.64, 88.39, 88.44, 89.27, 87.22, 81.38),
        },
        "arXiv 2510.22946",
    ),
    "gedit": Table(
        "GEdit-Bench, English",
        ("SC", "PQ", "O"),
        2,
        {
            "LightFusion": (6.34, 7.31, 6.06),
            "UniWorld-V1": (4.93, 7.43, 4.85),
            "BAGEL": (7.36, 6.83, 6.52),
            "OmniGen2": (7.16, 6.77, 6.41),
            "Step1X-Edit": (7.09, 6.76, 6.70),
            "UniPic": (6.72, 6.18, 5.83),
        },
        "arXiv 2510.22946",
    ),
    "imgedit": Table(
        "ImgEdit-Bench",
        ("add", "adjust", "extract", "replace", "remove", "background", "style", "hybrid", "action", "overall"),
        2,
        {
            "LightFusion": (4.21, 3.23, 1.83, 4.55, 3.80, 4.15, 4.66, 3.93, 3.60, 3.77),
            "BAGEL": (3.56, 3.31, 1.88, 2.62, 2.88, 3.44, 4.49, 2.38, 4.17, 3.20),
            "OmniGen2": (3.74, 3.54, 1.77, 3.21, 2.77, 3.57, 4.81, 2.30, 4.14, 3.43),
            "UniWorld-V1": (3.82, 3.66, 2.31, 3.45, 3.02, 2.99, 4.71, 2.96, 2.74, 3.26),
            "Ovis-U1": (4.12, 3.92, 2.36, 4.09, 3.57, 4.22, 4.69, 3.23, 3.61, 3.98),
        },
        "arXiv 2510.22946",
    ),
    "kris": Table(
        "KRIS-Bench",
        ("factual", "conceptual", "procedural", "overall"),
        2,
        {
            "LightFusion, VQ-VA World": (62.10, 60.11, 45.02, 57.16),
            "LightFusion": (57.62, 50.24, 41.06, 50.33),
            "BAGEL-Think": (62.75, 62.49, 42.76, 57.91),
            "Step1X-Edit": (53.32, 52.51, 37.21, 49.17),
            "OmniGen": (44.79, 34.23, 34.37, 38.00),
        },
        "chenhuigou.github.io/VQ-VA-World",
    ),
    "rise": Table(
        "RISEBench, 360 rows, accuracy in percent",
        ("temporal", "causal", "spatial", "logical", "overall"),
        1,
        {
            "LightFusion, VQ-VA World": (14.1, 21.1, 14.0, 1.1, 12.7),
            "LightFusion": (1.1, 1.1, 3.0, 1.1, 1.6),
            "BAGEL-Think": (5.9, 17.7, 21.0, 1.1, 11.9),
            "Step1X-Edit": (0.0, 2.2, 2.0, 3.5, 1.9),
            "FLUX.1-Kontext-dev": (2.3, 5.5, 13.0, 1.2, 5.8),
        },
        "chenhuigou.github.io/VQ-VA-World",
    ),
    "wise": Table(
        "WISE, verified",
        ("culture", "time", "space", "biology", "physics", "chemistry", "overall"),
        4,
        {
            "BAGEL, thinking": (0.7800, 0.6333, 0.5667, 0.3750, 0.5500, 0.5083, 0.6280),
            "FLUX.2-dev": (0.6650, 0.5667, 0.6583, 0.3667, 0.5250, 0.3750, 0.5650),
            "Qwen-Image": (0.6275, 0.5250, 0.5583, 0.3417, 0.4833, 0.2500, 0.5100),
            "Z-Image": (0.5475, 0.4667, 0.5083, 0.3250, 0.4750, 0.1750, 0.4530),
        },
        "github.com/PKU-YuanGroup/WISE",
    ),
    "intelligent": Table(
        "IntelligentBench",
        ("world", "design", "reasoning", "overall"),
        2,
        {
            "LightFusion, VQ-VA World": (43.57, 46.02, 46.53, 45.00),
            "LightFusion": (6.14, 7.39, 7.43, 6.81),
            "LightFusion, VQ-VA World, CVPR 2026": (None, None, None, 53.06),
            "LightFusion, CVPR 2026": (None, None, None, 7.78),
            "BAGEL-Think": (61.99, 55.11, 62.38, 60.42),
            "Qwen-Image": (38.07, 33.66, 32.75, 34.31),
            "UniWorld-V1": (2.92, 0.57, 1.49, 1.94),
        },
        "chenhuigou.github.io/VQ-VA-World, arXiv 2511.20573",
    ),
}
"""The tables, by benchmark. Scores are as published: GenEval's and WISE's 0 to 1, DPG-Bench's, KRIS's, RISE's and
IntelligentBench's 0 to 100, GEdit's 0 to 10, ImgEdit's 1 to 5."""
