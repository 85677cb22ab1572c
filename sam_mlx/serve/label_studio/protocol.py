"""The requests of Label Studio 1.23 to a backend, and their answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...interop.label_studio import to_label_studio
from ...masks import Record
from ...messages import short
from ...web.errors import Refusal
from ...web.model import Model
from ...web.openapi import Endpoint
from ...web.store import Content
from ...web.validate import NUMBER, TEXT, Schema, form, many, open_form, or_null, ref
from ..backend import Backend
from ..call import Call
from ..key import with_token
from ..tool import Tool
from .config import Config, read
from .context import Prompt, prompt_of
from .media import DEFAULT, Media
from .project import Project
from .projects import Projects

MAX_TASKS = 1000  # of one request
# Corners of polygons that are this near to the line between others are left out, in pixels.
TOLERANCE = 0.75

START_TRAINING = "START_TRAINING"


def projects_of(backend: Backend) -> Projects:
    """The projects of a server; its start may have put them there, with other addresses."""
    found: Projects = backend.tools.setdefault(TOOL.name, Projects(Media(DEFAULT)))
    return found


# Projects.


async def set_up(call: Call) -> dict[str, Any]:
    given = await call.json()
    projects = projects_of(call.backend)
    name, token = str(given["project"]), given.get("access_token")
    project = projects.set_up(name, token, given.get("extra_params"))
    model = model_of(call.backend, project)
    read(given["schema"])
    return {"model_version": version_of(model)}


def model_of(backend: Backend, project: Project) -> Model:
    """The model of a project: the one trained for it, or the one that its settings name."""
    return backend.model(project.trained or project.model)


def version_of(model: Model) -> str:
    return f"sam_mlx {model.name}"


async def validate_config(call: Call) -> dict[str, Any]:
    read((await call.json())["config"])
    return {"status": "ok"}


async def list_versions(call: Call) -> dict[str, Any]:
    models = call.backend.models.values()
    return {"versions": [version_of(model) for model in models], "message": ""}


async def delete_project(call: Call) -> dict[str, Any]:
    given = await call.json()
    projects_of(call.backend).forget(str(given.get("project") or ""))
    return {"status": "ok"}


async def duplicate_project(call: Call) -> dict[str, Any]:
    await call.json()
    return {"status": "ok"}


async def job_status(call: Call) -> dict[str, Any]:
    given = await call.json()
    training = projects_of(call.backend).training
    status = "unknown" if training is None else training.status(str(given.get("job") or ""))
    return {"job_status": status}


async def webhook(call: Call) -> dict[str, Any]:
    """Begins a training, where that is switched on; other events need nothing."""
    given = await call.json()
    if given.get("action") != START_TRAINING:
        return {"status": "ignored"}
    projects = projects_of(call.backend)
    number = (given.get("project") or {}).get("id")
    if number is None:
        raise Refusal(400, "the event names no project")
    if projects.training is None:
        raise Refusal(501, "training is not switched on: start the server with --train-into FOLDER")
    project = projects.get(str(number))
    model = model_of(call.backend, project)
    return {"status": "ok", "job": projects.training.begin(call.backend, model, project, number)}


# Predictions.


async def predict_tasks(call: Call) -> dict[str, Any]:
    given = await call.json()
    project = projects_of(call.backend).get(str(given.get("project") or ""))
    config, model = read(given["label_config"]), model_of(call.backend, project)
    context = ((given.get("params") or {}).get("context") or {}).get("result") or []
    results = []
    for task in given["tasks"]:
        content = await picture_of(call, project, config, task)
        if context:
            results.append(await interactive(call, model, content, config, context))
        else:
            results.append(await everything(call, model, content, config))
    return {"results": results, "model_version": version_of(model)}


async def picture_of(call: Call, project: Project, config: Config, task: dict[str, Any]) -> Content:
    place = task["data"].get(config.key)
    if not isinstance(place, str) or not place:
        raise Refusal(400, f"the task has no picture: its {config.key} is {short(place)}")
    fetch = projects_of(call.backend).fetch
    return await call.in_thread(fetch, call.backend.pictures, project, place, task.get("id"))


async def interactive(
    call: Call, model: Model, content: Content, config: Config, context: list[dict[str, Any]]
) -> dict[str, Any]:
    prompt: Prompt = await call.in_thread(prompt_of, context, content.size)
    record = await call.best(model, content, prompt.points, prompt.labels, prompt.box)
    return await call.in_thread(prediction, [record], config, prompt.label, model)


async def everything(call: Call, model: Model, content: Content, config: Config) -> dict[str, Any]:
    records = await call.everything(call.backend.everything, model, content)
    return await call.in_thread(prediction, records, config, None, model)


def prediction(
    records: list[Record], config: Config, label: str | None, model: Model
) -> dict[str, Any]:
    control, label = config.control_for(label)
    tolerance = TOLERANCE if control.kind == "polygonlabels" else 0
    regions = to_label_studio(
        records, control.name, config.image, label, control.kind, tolerance=tolerance
    )
    scores = [record["predicted_iou"] for record in records] or [0.0]
    return {
        "result": regions,
        "score": float(np.clip(np.mean(scores), 0, 1)),
        "model_version": version_of(model),
    }


# The forms of requests and answers.

CONFIG: Schema = {"type": "string", "description": "the labelling configuration, XML"}
PROJECT: Schema = or_null({"type": "string", "maxLength": 200})
ANY = open_form()
TASK = open_form("data", data=ANY)
SETUP = open_form(
    "project schema",
    project={"type": "string", "maxLength": 200},
    schema=CONFIG,
    hostname=or_null(TEXT),
    access_token=or_null({"type": "string", "maxLength": 4000}),
)
PREDICT = open_form(
    "tasks label_config",
    tasks=many(TASK, MAX_TASKS),
    project=PROJECT,
    label_config=CONFIG,
    params=or_null(open_form(context=or_null(open_form(result=or_null(many(ANY, 1000)))))),
)
EVENT = open_form(action=or_null(TEXT), project=or_null(ANY))
STATUS = open_form("status", status=TEXT)
SCHEMAS: dict[str, Schema] = {
    "LabelStudioVersion": form("model_version", model_version=TEXT),
    "LabelStudioVersions": open_form("versions", versions=many(TEXT)),
    "LabelStudioStatus": STATUS,
    "LabelStudioJob": form("job_status", job_status=TEXT),
    "LabelStudioPredictions": form(
        "results model_version", results=many(ref("LabelStudioPrediction")), model_version=TEXT
    ),
    "LabelStudioPrediction": form(
        "result score model_version",
        result=many(ANY), score=NUMBER, model_version=TEXT,
    ),
}  # fmt: skip

ENDPOINTS = (
    Endpoint("POST", "/setup", set_up, "Label Studio: a project", 200, "LabelStudioVersion", SETUP),
    Endpoint("POST", "/predict", predict_tasks,
             "Label Studio: regions of what a user has pointed at, or of everything", 200,
             "LabelStudioPredictions", PREDICT),
    Endpoint("POST", "/validate", validate_config, "Label Studio: whether a configuration fits",
             200, "LabelStudioStatus", open_form("config", config=CONFIG)),
    Endpoint("GET", "/versions", list_versions, "Label Studio: the models", 200,
             "LabelStudioVersions"),
    Endpoint("POST", "/delete", delete_project, "Label Studio: forget a project", 200,
             "LabelStudioStatus", open_form(project=PROJECT)),
    Endpoint("POST", "/duplicate_model", duplicate_project, "Label Studio: nothing to do", 200,
             "LabelStudioStatus", ANY),
    Endpoint("POST", "/job_status", job_status, "Label Studio: how a training is", 200,
             "LabelStudioJob", open_form(job=or_null(TEXT))),
    Endpoint("POST", "/webhook", webhook, "Label Studio: an event; START_TRAINING trains", 201,
             "LabelStudioStatus", EVENT),
)  # fmt: skip


def guide(address: str, token: str | None) -> str:
    said = with_token(address, token).rstrip("/")
    return f"in a project's settings, Model, Connect Model: {said}, with interactive preannotations"


TOOL = Tool("label-studio", "Label Studio", guide, ENDPOINTS, SCHEMAS)
