"""The bodies of requests and answers, as schemas."""

from __future__ import annotations

from . import classes, objects
from .automatic import MAX_POINTS_PER_SIDE
from .instances import MAX_SIZE
from .objects import BOX, COMPRESSED, LABELS, MULTIMASK, PIXELS, POINTS, SCALE
from .sessions import MAX_OBJECTS
from .validate import FLAG, INTEGER, NUMBER, SHARE, TEXT, Schema, form, many, or_null, ref

MAX_REQUEST = 2**53  # a number that JavaScript holds exactly
THRESHOLD = {"type": "number", "minimum": -1, "maximum": 2}

# For requests.
PREDICT = form(
    points=POINTS, labels=LABELS, box=BOX, start=or_null(COMPRESSED),
    multimask=MULTIMASK, hover=FLAG, compact=FLAG, scale=SCALE,
    request={"type": "integer", "minimum": 0, "maximum": MAX_REQUEST},
)  # fmt: skip
OBJECT = objects.TOLD
PICTURE_STATE = form(done=FLAG)
CLASSES = form("classes", classes=classes.CLASSES, since=INTEGER)
PUT = form("id", id=objects.KEY, **objects.schemas("told"))
# Objects are checked one by one, so that one that is refused keeps no other from being saved.
SAVE = form(
    "", objects=many({"type": "object"}, MAX_OBJECTS), removed=many(objects.KEY, MAX_OBJECTS)
)
AUTOMATIC = form(
    points_per_side={"type": "integer", "minimum": 1, "maximum": MAX_POINTS_PER_SIDE},
    window=many(INTEGER, 4, 4),  # x, y, width, height of what is searched of a large picture
    scale=SCALE,  # at which it is looked at
)
SELECT = form(
    pred_iou_thresh=THRESHOLD, stability_score_thresh=THRESHOLD, box_nms_thresh=THRESHOLD,
    min_mask_region_area=PIXELS,
    # By an instance decoder:
    center_distance_threshold=SHARE, boundary_distance_threshold=SHARE, foreground_threshold=SHARE,
    min_size={"type": "integer", "minimum": 0, "maximum": MAX_SIZE},
)  # fmt: skip

# For answers, by the names that the document gives them.
ANSWERS: dict[str, Schema] = {
    "Error": form("error", error=TEXT),
    "Rle": form("size counts", size=many(INTEGER), counts=many(INTEGER)),
    "Session": form(
        "session model limits formats kept file automatic",
        session=TEXT,
        model=form("name device dtype", name=TEXT, device=TEXT, dtype=TEXT),
        limits=form("bytes pixels", bytes=INTEGER, pixels=INTEGER),
        formats=many(TEXT),
        kept=FLAG,
        file=or_null(TEXT),
        automatic=form(
            "points_per_side max_points_per_side pred_iou_thresh stability_score_thresh "
            "box_nms_thresh min_mask_region_area min_pred_iou_thresh min_stability_score_thresh "
            "mode center_distance_threshold boundary_distance_threshold foreground_threshold "
            "min_size",
            mode={"type": "string", "enum": ["amg", "ais"]},
            points_per_side=INTEGER,
            max_points_per_side=INTEGER,
            pred_iou_thresh=NUMBER,
            stability_score_thresh=NUMBER,
            box_nms_thresh=NUMBER,
            min_mask_region_area=NUMBER,
            min_pred_iou_thresh=NUMBER,
            min_stability_score_thresh=NUMBER,
            center_distance_threshold=NUMBER,
            boundary_distance_threshold=NUMBER,
            foreground_threshold=NUMBER,
            min_size=INTEGER,
        ),
    ),
    "Pictures": form(
        "pictures classes selected revision",
        pictures=many(ref("Picture")),
        classes=classes.CLASSES,
        selected=or_null(TEXT),
        revision=INTEGER,
    ),
    "Classes": form(
        "classes revision before", classes=classes.CLASSES, revision=INTEGER, before=INTEGER
    ),
    "Changes": form(
        "revision ids pictures classes",
        revision=INTEGER,
        ids=many(TEXT),
        pictures=many(ref("Picture")),
        classes=classes.CLASSES,
    ),
    "Earlier": form("sessions", sessions=many(ref("EarlierSession"))),
    "EarlierSession": form(
        "session time pictures objects names related open",
        session=TEXT,
        time=NUMBER,
        pictures=INTEGER,
        objects=INTEGER,
        names=many(TEXT),
        related=FLAG,
        open=FLAG,
    ),
    "Picture": form(
        "id name width height tiles ready encoding done error objects",
        id=TEXT,
        name=TEXT,
        width=INTEGER,
        height=INTEGER,
        tiles=or_null(
            form("side levels formats", side=INTEGER, levels=INTEGER, formats=many(TEXT))
        ),
        ready=FLAG,
        encoding=or_null(form("done", done=SHARE)),
        done=FLAG,
        error=or_null(TEXT),
        notice=or_null(TEXT),
        objects=many(ref("Object")),
    ),
    "Object": objects.SHOWN,
    "Imported": form(
        "classes revision pictures left_out",
        classes=classes.CLASSES,
        revision=INTEGER,
        pictures=many(form("id objects", id=TEXT, objects=many(ref("Object")))),
        left_out=many(TEXT),
    ),
    "Saved": form(
        "objects refused revision before",
        objects=many(ref("Object")),
        refused=many(form("id status error", id=TEXT, status=INTEGER, error=TEXT)),
        revision=INTEGER,
        before=or_null(INTEGER),
    ),
    "Prediction": form(
        "request best window masks",
        request=INTEGER,
        best=INTEGER,
        window=or_null(many(INTEGER, 4, 4)),  # x, y, width, height of the masks, in a large picture
        masks=many(
            form(
                "score stability area logits",
                score=NUMBER,
                stability=NUMBER,
                area=INTEGER,
                logits=or_null(form("shape data", shape=many(INTEGER), data=TEXT)),
            )
        ),
    ),
    "Automatic": form("done masks", done=SHARE, masks=or_null(many(ref("AutomaticMask")))),
    "AutomaticMask": form(
        "id box area score stability mask mask_scale",
        id=TEXT,
        box=many(INTEGER),
        area=INTEGER,
        score=NUMBER,
        stability=NUMBER,
        mask=ref("Rle"),
        mask_scale=SCALE,
    ),
    "AutomaticSelection": form("ids changed", ids=many(TEXT), changed=many(ref("AutomaticMask"))),
}
