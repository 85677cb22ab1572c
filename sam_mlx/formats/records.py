"""JSON files, one a picture: the generator's records, and the SA-1B dataset's form of them."""

from ..files import write_json
from .base import Format, Result


class Records(Format):
    name = "rle"
    help = "a JSON file of the records for each picture"
    pattern = "{}.json"

    def write(self, result: Result, path: str) -> None:
        write_json(path, result.records)


class Sa1b(Format):
    name = "sa1b"
    help = "a JSON file for each picture, as the SA-1B dataset has it"
    pattern = "{}.json"

    def write(self, result: Result, path: str) -> None:
        image = {"image_id": result.number, **result.describe()}
        annotations = [{"id": i, **record} for i, record in enumerate(result.records, 1)]
        write_json(path, {"image": image, "annotations": annotations})
