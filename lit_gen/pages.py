"""HTML pages that carry everything with them: no script, no style and no picture of any other place."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from torch import Tensor


def render(template: str, **values: object) -> str:
    """A page from its template, a path below this package; every value is escaped unless the template says `safe`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = png
    return environment.get_template(template).render(**values)


def png(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as the address that carries it: `data:image/png;base64,...`."""
    from torchvision.utils import save_image

    file = BytesIO()
    save_image(image.float(), file, format="png")
    return address(file.getvalue())


def address(file: bytes, kind: str = "png") -> str:
    """The content of a picture's file as the address that carries it."""
    return f"data:image/{kind};base64,{b64encode(file).decode()}"


def webp(path: Path) -> str:
    """A picture's file as the address that carries it as WebP, which is a quarter of the PNG."""
    from PIL import Image

    file = BytesIO()
    with Image.open(path) as image:
        image.save(file, format="webp", quality=90)
    return address(file.getvalue(), "webp")
