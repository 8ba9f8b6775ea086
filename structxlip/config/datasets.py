"""The kinds of datasets: what an entry under `datasets:` says of each.

``path`` is the folder or file that the source reads and DVC watches; all other paths are seen from
that folder.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from structxlip.config.section import Positive, Section

Split = Literal["train", "val", "test"]


class Entry(Section):
    """What every dataset has; ``lexicons`` are of its domain, beside those of the recipe."""

    path: str
    lexicons: list[str] = Field(default_factory=list)


class Scenes(Entry):
    """The built-in drawings; ``path`` is the vocabulary that they are drawn and described with."""

    kind: Literal["scenes"]
    train: Positive
    val: Positive
    test: Positive
    image_px: Annotated[int, Field(ge=64, le=1024)] = 160
    captions_per_image: Positive = 1


class Flickr(Entry):
    """Flickr8k and Flickr30k: an image folder, a table of captions, lists of the splits."""

    kind: Literal["flickr"]
    images: str = "Images"
    captions: str = "captions.txt"
    splits: dict[Split, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Flickr:
        if self.splits and not {"train", "test"} <= set(self.splits):
            raise ValueError("needs the lists of both train and test, or none to split by hash")
        return self


class CocoSplit(Section):
    captions: str
    images: str


COCO_2017: dict[Split, CocoSplit] = {
    "train": CocoSplit(captions="annotations/captions_train2017.json", images="train2017"),
    "test": CocoSplit(captions="annotations/captions_val2017.json", images="val2017"),
}


class Coco(Entry):
    """COCO: for each split a captions_*.json and the folder of its images."""

    kind: Literal["coco"]
    splits: dict[Split, CocoSplit] = Field(default_factory=lambda: dict(COCO_2017), min_length=1)


class Karpathy(Entry):
    """Karpathy's dataset_coco.json, dataset_flickr30k.json or dataset_flickr8k.json with its
    splits; `restval` belongs to train."""

    kind: Literal["karpathy"]
    captions: str = "dataset_coco.json"
    images: str = "."


class Docci(Entry):
    """DOCCI: docci_descriptions.jsonlines and images/; `qual_dev` is val, `qual_test` left out."""

    kind: Literal["docci"]
    descriptions: str = "docci_descriptions.jsonlines"
    images: str = "images"


class Dci(Entry):
    """Densely Captioned Images: a JSON file an image, with its masks as boxes."""

    kind: Literal["dci"]
    annotations: str = "annotations"
    images: str = "photos"
    splits: str | None = "splits.json"


ReportSection = Literal["findings", "impression"]
SECTIONS: tuple[ReportSection, ...] = get_args(ReportSection)


class MimicCxr(Entry):
    """MIMIC-CXR: tables of the splits and views, one report a study; JPG, or DICOM with the extra
    `dicom`."""

    kind: Literal["mimic_cxr"]
    splits: str = "mimic-cxr-2.0.0-split.csv"
    metadata: str = "mimic-cxr-2.0.0-metadata.csv"
    files: str = "files"
    reports: str = "files"
    views: list[str] = Field(default_factory=lambda: ["PA", "AP"])
    sections: list[ReportSection] = Field(default_factory=lambda: list(SECTIONS), min_length=1)


class Medpix(Entry):
    """MedPix 2.0: Descriptions.json, uid_list.json and images/; cases stay together."""

    kind: Literal["medpix"]
    descriptions: str = "Descriptions.json"
    images: str = "images"
    splits: str | None = "uid_list.json"
    caption: str = "{Modality}, {Plane}, {Location}. {Caption}"


class DeepFashionMultimodal(Entry):
    """DeepFashion-MultiModal: captions.json and images/; pictures of a product stay together."""

    kind: Literal["deepfashion_multimodal"]
    captions: str = "captions.json"
    images: str = "images"


class FashionProducts(Entry):
    """Product photographs with HTML descriptions, as JSON lines."""

    kind: Literal["fashion_products"]
    products: str = "products.jsonl"
    images: str = "images"
    caption: str = "{name}. {description_html}"


class StructxlipJson(Entry):
    """The JSON list that the authors train on; its edge maps and boxes are used."""

    kind: Literal["structxlip_json"]
    annotations: str = "train.json"
    images: str = "."
    edges: str | None = "."


class Table(Entry):
    """A table in CSV, TSV, JSON lines or Parquet, of which columns say what is what."""

    kind: Literal["table"]
    table: str
    image: str = "image"
    captions: Annotated[list[str], Field(min_length=1)]
    id: str | None = None
    split: str | None = None
    group: str | None = None
    images: str = "."
    html: bool = False


class ImageFolder(Entry):
    """Hugging Face's imagefolder: metadata.jsonl or metadata.csv beside the images, one for all or
    one in the folder of each split."""

    kind: Literal["imagefolder"]
    caption: str = "text"


class WebDataset(Entry):
    """Tar shards of files that share a name: KEY.jpg with KEY.txt or KEY.json."""

    kind: Literal["webdataset"]
    shards: str = "*.tar"
    caption: str = "txt"


class HfDataset(Entry):
    """A folder that `datasets` wrote (`save_to_disk`), or the Parquet files of a dataset's
    repository."""

    kind: Literal["hf_dataset"]
    image: str = "image"
    caption: str = "text"


AnyDataset = (
    Scenes
    | Flickr
    | Coco
    | Karpathy
    | Docci
    | Dci
    | MimicCxr
    | Medpix
    | DeepFashionMultimodal
    | FashionProducts
    | StructxlipJson
    | Table
    | ImageFolder
    | WebDataset
    | HfDataset
)
Dataset = Annotated[AnyDataset, Field(discriminator="kind")]
KINDS: dict[str, type[Section]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(AnyDataset)
}


def examples() -> str:
    """Every kind as an entry for `datasets:`, with what may be left out at its default, and
    without the lexicons that all may have."""
    import io
    import textwrap

    from ruamel.yaml import YAML

    yaml = YAML()
    parts = []
    for kind, model in sorted(KINDS.items()):
        entry: dict[str, Any] = {"kind": kind, "path": EXAMPLES.get((kind, "path"), "DIR")}
        for name, field in model.model_fields.items():
            if name not in entry and name != "lexicons":
                given = EXAMPLES.get((kind, name))
                entry[name] = given or field.get_default(call_default_factory=True)
        out = io.StringIO()
        yaml.dump({"my_" + kind: _plain(entry)}, out)
        about = textwrap.wrap(" ".join((model.__doc__ or "").split()), 88)
        parts.append("".join(f"# {line}\n" for line in about) + out.getvalue())
    return "\n".join(parts)


# Of what has no default.
EXAMPLES: dict[tuple[str, str], Any] = {
    ("scenes", "path"): "structxlip/data/scenes.yaml",
    ("scenes", "train"): 3000,
    ("scenes", "val"): 400,
    ("scenes", "test"): 800,
    ("table", "table"): "products.csv",
    ("table", "captions"): ["{name}. {description}"],
}


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return _plain(value.model_dump())
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value
