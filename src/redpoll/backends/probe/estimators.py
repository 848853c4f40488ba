"""What a fitted estimator knows about its columns: names, types, and values that it has seen.

An estimator keeps no rows, but most of its parts keep traces of them: an encoder its categories, an
imputer and a scaler their means, a tree its thresholds. From these comes a row that the model would
not find strange.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

VALUES_MAX = 12  # of a column's categories
WIDEST = 100_000  # columns; what is wider is not walked through
DEPTH_MAX = 12
TREES_MAX = 20
WORDS = 4

# Attributes of wrappers that hold what was fitted, in order of preference.
INNER = ("best_estimator_", "regressor_", "classifier_", "estimator_", "final_estimator_")


class Known:
    """What was found out about one column. ``values``: the first is the most usual one."""

    def __init__(self) -> None:
        self.type = ""
        self.values: list[Any] = []

    def learn(self, kind: str, values: Iterable[Any]) -> None:
        """Take it, unless something better is known: categories are better than a mean."""
        found = list(values)
        if self.type and not (kind in ("category", "text", "bool") and self.type != kind):
            if kind == self.type and len(found) > len(self.values) and kind == "category":
                self.values = found
            return
        self.type, self.values = kind, found


def describe(model: Any) -> dict[str, Any]:
    """Everything about a model that is needed to serve and to ask it."""
    kind = type(model)
    names = [str(name) for name in _get(model, "feature_names_in_", ())]
    count = len(names) or _count(model)
    known = {at: Known() for at in range(count or 0)} if (count or 0) <= WIDEST else {}
    text = count is None and takes_texts(model)
    if text:
        count, known = 1, {0: Known()}
    _walk(model, list(known), known, 0)
    classes = _get(model, "classes_", None)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "parts": [type(step).__name__ for step in steps(model)],
        "predicts": callable(_get(model, "predict", None)),
        "names": names,
        "count": count,
        "text": text,
        "columns": [
            {"type": one.type, "values": [plain(value) for value in one.values]}
            for one in known.values()
        ],
        "classes": _classes(classes),
        "probability": classes is not None and callable(_get(model, "predict_proba", None)),
    }


def steps(model: Any) -> list[Any]:
    """A pipeline's steps; else the model itself."""
    found = _get(model, "steps", None)
    if not isinstance(found, list):
        return [model]
    return [step for _, step in found if step is not None and step != "passthrough"]


def takes_texts(model: Any) -> bool:
    """Whether the first step turns texts into numbers: then the input is a list of texts."""
    for attribute in INNER:
        inner = _get(model, attribute, None)
        if inner is not None:
            return takes_texts(inner)
    first = steps(model)[0]
    return type(first).__name__.endswith("Vectorizer") and type(first).__name__ != "DictVectorizer"


def plain(value: Any) -> Any:
    """A value as JSON can say it."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:
        value = item()
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _get(model: Any, name: str, default: Any) -> Any:
    """An attribute; estimators raise all kinds of things from properties."""
    try:
        return getattr(model, name, default)
    except Exception:
        return default


def _count(model: Any) -> int | None:
    count = _get(model, "n_features_in_", None)
    return int(count) if isinstance(plain(count), int) else None


def _classes(classes: Any) -> list[Any] | None:
    """The labels of a classifier; None where it is none, or answers several labels at once."""
    if getattr(classes, "ndim", None) != 1 or len(classes) > 1000:
        return None
    return [plain(label) for label in classes]


def _walk(part: Any, keys: list[Any], known: dict[Any, Known], depth: int) -> None:
    """Learn from a fitted part what it knows of the columns ``keys`` that it was given."""
    if depth > DEPTH_MAX or part is None or isinstance(part, str):
        return
    if isinstance(_get(part, "steps", None), list):
        for step in steps(part):
            _walk(step, keys, known, depth + 1)
            if not type(step).__name__.endswith("Imputer"):
                break  # from here on the columns are others, or their values are
        return
    if _get(part, "transformers_", None) is not None:
        for inner, its_keys in _branches(part, keys):
            _walk(inner, its_keys, known, depth + 1)
        return
    if _get(part, "transformer_list", None) is not None:
        for _, inner in part.transformer_list:
            _walk(inner, keys, known, depth + 1)
        return
    before = _get(part, "_preprocessor", None)  # of HistGradientBoosting with categories
    if _get(before, "transformers_", None) is not None:
        _walk(before, keys, known, depth + 1)
        # What it binned has the categories in front.
        keys = [key for _, its_keys in _branches(before, keys) for key in its_keys]
    for attribute in INNER:
        _walk(_get(part, attribute, None), keys, known, depth + 1)
    for calibrated in list(_get(part, "calibrated_classifiers_", ()))[:1]:
        _walk(_get(calibrated, "estimator", None), keys, known, depth + 1)
    try:
        _learn(part, keys, known)
    except Exception:
        return  # what a part keeps under a well-known name need not be what we think it is


def _branches(columns: Any, keys: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """The parts of a ColumnTransformer with the columns that each gets."""
    places = _get(columns, "_transformer_to_input_indices", None) or {}
    names = [str(name) for name in _get(columns, "feature_names_in_", ())]
    for name, part, given in columns.transformers_:
        if part == "drop":
            continue
        at = places.get(name)
        if at is None:
            given = [given] if isinstance(given, (str, int)) else list(given)
            at = [names.index(one) if isinstance(one, str) else int(one) for one in given]
        yield part, [keys[place] for place in at if place < len(keys)]


def _learn(part: Any, keys: list[Any], known: dict[Any, Known]) -> None:
    if type(part).__name__.endswith("Vectorizer"):
        words = sorted(_get(part, "vocabulary_", None) or (), key=lambda word: (-len(word), word))
        middle = words[len(words) // 3 :][:WORDS]
        for key in keys:
            known[key].learn("text", [" ".join(middle) or "a few words"])
        return
    categories = _get(part, "categories_", None)
    if categories is not None and len(categories) == len(keys):
        for key, values in zip(keys, categories):
            _learn_categories(known[key], list(values))
        return
    found = _traces(part, len(keys))
    for key, value in zip(keys, found or ()):
        value = plain(value)
        if isinstance(value, bool):
            known[key].learn("bool", [value])
        elif isinstance(value, str):
            known[key].learn("category", [value])
        elif isinstance(value, (int, float)) and value == value:
            known[key].learn("float", [_rounded(value)])


def _learn_categories(column: Known, values: list[Any]) -> None:
    present = [plain(value) for value in values if value is not None and value == value]
    kinds = {type(value) for value in present}
    if not present:
        return
    # The first in order is often a stray ("?", "", "0"): begin in the middle.
    middle = len(present) // 2
    ordered = [*present[middle:], *present[:middle]][:VALUES_MAX]
    if kinds == {bool}:
        column.learn("bool", ordered)
    elif kinds == {int}:
        column.learn("int", ordered)
    elif kinds <= {int, float}:
        column.learn("float", ordered)
    else:
        column.learn("category", [str(value) for value in ordered])


def _traces(part: Any, width: int) -> list[Any] | None:
    """One usual value a column, from whatever the part remembers; None where it remembers none."""
    for name in ("statistics_", "mean_", "center_", "initial_imputer_"):
        found = _get(_get(part, name, None), "statistics_", _get(part, name, None))
        if found is not None and _shape(found) == (width,):
            return list(found)
    low, high = _get(part, "data_min_", None), _get(part, "data_max_", None)
    if low is not None and high is not None and _shape(low) == (width,):
        return list((low + high) / 2)
    for name in ("quantiles_", "theta_", "means_", "cluster_centers_", "centroids_"):
        found = _get(part, name, None)
        if found is not None and len(_shape(found)) == 2 and found.shape[1] == width:
            return list(found[len(found) // 2])
    for name in ("_fit_X", "X_train_", "_fit_data", "support_vectors_"):
        found = _get(part, name, None)
        if found is not None and len(_shape(found)) == 2 and found.shape[1] == width:
            row = found[len(found) // 2]
            return list(row.toarray()[0] if hasattr(row, "toarray") else row)
    edges = _get(part, "bin_edges_", None)
    if edges is not None and len(edges) == width:
        return [one[len(one) // 2] for one in edges]
    bins = _get(_get(part, "_bin_mapper", None), "bin_thresholds_", None)
    if bins is not None and len(bins) == width:
        return [one[len(one) // 2] if len(one) else 0.0 for one in bins]
    return _thresholds(part, width)


def _thresholds(part: Any, width: int) -> list[Any] | None:
    """The middle threshold of each column in a tree, or in the first trees of a forest."""
    trees = [part] if _get(part, "tree_", None) is not None else []
    several = _get(part, "estimators_", None)
    if several is not None:
        flat = several.reshape(-1) if hasattr(several, "reshape") else several
        trees = [tree for tree in list(flat)[:TREES_MAX] if _get(tree, "tree_", None) is not None]
    if not trees:
        return None
    seen: dict[int, list[float]] = {}
    for tree in trees:
        for feature, threshold in zip(tree.tree_.feature, tree.tree_.threshold):
            if feature >= 0:
                seen.setdefault(int(feature), []).append(float(threshold))
    return [sorted(seen[at])[len(seen[at]) // 2] if at in seen else 0.0 for at in range(width)]


def _rounded(value: float) -> float:
    """As somebody would type it: three digits, whole where it is large."""
    short = float(f"{value:.3g}")
    return int(short) if 20 <= abs(short) < 1e15 else short


def _shape(found: Any) -> tuple[int, ...]:
    return tuple(getattr(found, "shape", ()))
