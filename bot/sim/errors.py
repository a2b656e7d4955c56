"""What a simulated host may answer instead of a result, in LM Studio's own words."""

from collections.abc import Sequence


class SimError(Exception):
    """A refusal of the simulated host; each wire gives it its own shape."""

    title = "Unknown error"
    http_status = 500
    rest_code: str | None = None
    rest_param = "model"

    def __init__(self, cause: str, suggestion: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.suggestion = suggestion
        self.display_data: dict[str, object] | None = None


class ModelNotOnDisk(SimError):
    """The key is not downloaded."""

    title = "Cannot find a model with path"
    http_status = 404
    rest_code = "model_not_found"

    def __init__(self, key: str, on_disk: Sequence[str]) -> None:
        super().__init__(f'Model "{key}" not found.')
        self.title = f'Cannot find a model with path "{key}".'
        self.display_data = {
            "code": "generic.pathNotFound",
            "path": key,
            "availablePathsSample": list(on_disk[:5]),
            "totalModels": len(on_disk),
        }


class ModelNotLoaded(SimError):
    """No resident instance fits the question."""

    title = "No model found that fits the query"
    http_status = 404
    rest_code = "model_not_found"

    def __init__(self, query: dict[str, object], loaded: Sequence[str]) -> None:
        super().__init__(f"No loaded model matches {query}.")
        self.display_data = {
            "code": "generic.noModelMatchingQuery",
            "query": query,
            "loadedModelsSample": list(loaded[:5]),
            "totalLoadedModels": len(loaded),
        }


class IdentifierInUse(SimError):
    """An instance of that identifier is resident or loading."""

    title = "Failed to load the model"
    http_status = 400

    def __init__(self, identifier: str) -> None:
        super().__init__(f'Model with identifier "{identifier}" already exists.')


class DoesNotFit(SimError):
    """The guardrail refuses a load."""

    title = "Failed to load the model"
    http_status = 500

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(
            "Model loading was stopped due to insufficient system resources. Under the current"
            f" settings, this model requires approximately {needed_bytes / 1e9:.2f} GB of memory,"
            " and continuing to load it would likely overload your system and cause it to freeze."
            " If you think this is incorrect, you can adjust the model loading guardrails in"
            " settings."
        )


class LoadFailedError(SimError):
    """A load broke."""

    title = "Failed to load the model"
    http_status = 500


class LoadCancelledError(SimError):
    """A load was given up."""

    title = "Model load cancelled"
    http_status = 500


class ModelGone(SimError):
    """The instance was unloaded under the request."""

    title = "Model unloaded"
    http_status = 400

    def __init__(self) -> None:
        super().__init__("Model unloaded.")
        self.display_data = {"code": "generic.specificModelUnloaded"}


class PromptTooLong(SimError):
    """The prompt does not fit the context of the instance."""

    title = (
        "The number of tokens to keep from the initial prompt is greater than the context length"
    )
    http_status = 400

    def __init__(self, tokens: int, context_length: int) -> None:
        super().__init__(
            "The number of tokens to keep from the initial prompt is greater than the context"
            f" length (n_keep: {tokens}>= n_ctx: {context_length}). Try to load the model with a"
            " larger context length, or provide a shorter input."
        )


class NoModelsLoaded(SimError):
    """Nothing is resident and nothing may be loaded."""

    title = "No models loaded"
    http_status = 404

    def __init__(self) -> None:
        super().__init__(
            "No models loaded. Please load a model in the developer page"
            " or use the 'lms load' command."
        )


class NoModelNamed(SimError):
    """Several models are loaded and the request names none."""

    title = "Multiple models are loaded"
    http_status = 400
    rest_code = "model_not_found"

    def __init__(self) -> None:
        super().__init__(
            "Multiple models are loaded. Please specify a model by providing a 'model' field in the"
            " request body, or unload all but one."
        )


class BadRequest(SimError):
    """The request makes no sense."""

    title = "Bad request"
    http_status = 400


class NoSuchResponse(SimError):
    """A request goes on from an answer that is not kept on this host."""

    title = "Response not found"
    http_status = 404
    rest_code = "previous_response_not_found"
    rest_param = "previous_response_id"

    def __init__(self, name: str) -> None:
        super().__init__(f"Previous response with id '{name}' not found.")


class ConnectionCut(Exception):
    """A fault asks the wire to cut this connection."""


class SilentEnd(Exception):
    """A fault asks the wire to end this stream without its end marks."""
