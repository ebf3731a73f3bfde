"""OpenAPI documents become tools, or the list of all that is wrong with them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from graphs.errors import DocumentInvalid
from graphs.workflow.endpoints import ApiKeyAuth, BasicAuth, BearerAuth
from graphs.workflow.openapi import import_openapi
from graphs.workflow.spec import dump_tools, load_tools

OK = {"200": {"description": "fine"}}


def document(version: str = "3.1.0", paths: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "openapi": version,
        "info": {"title": "Things", "version": "1.2"},
        "servers": [{"url": "https://api.test/v1/"}],
        "paths": paths if paths is not None else {"/things": {"get": {"operationId": "list", "responses": OK}}},
        **more,
    }


def operation(**options: Any) -> dict[str, Any]:
    return {"operationId": "act", "responses": OK, **options}


def only(paths: Any, version: str = "3.1.0", **more: Any) -> Any:
    """The one tool of a document."""
    options = {name: more.pop(name) for name in ("auth", "base_url") if name in more}
    [tool] = import_openapi(document(version, paths, **more), **options)
    assert tool.problems() == []
    assert load_tools(dump_tools([tool])) == [tool]
    return tool


def problems(paths: Any, version: str = "3.1.0", **more: Any) -> list[str]:
    options = {name: more.pop(name) for name in ("auth", "base_url", "include", "tags") if name in more}
    with pytest.raises(DocumentInvalid) as caught:
        import_openapi(document(version, paths, **more), **options)
    return caught.value.problems


def test_an_operation_is_a_tool() -> None:
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}, "description": "Which one."},
        {"name": "filter[name]", "in": "query", "schema": {"type": "string"}},
        {"name": "ids", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "integer"}}},
        {"name": "deep", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
        {"name": "pipes", "in": "query", "style": "pipeDelimited", "schema": {"type": "array"}},
        {"name": "json", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
        {"name": "X-Trace", "in": "header", "schema": {"type": "string", "default": "no"}},
        {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
        {"name": "sid", "in": "cookie", "schema": {"type": "string"}},
    ]
    act = operation(parameters=parameters, summary="Act", description="On a thing.", tags=["things"])

    tool = only({"/things/{id}/act": {"get": act}})

    assert (tool.name, tool.method, tool.url) == ("act", "GET", "https://api.test/v1/things/{id}/act")
    assert (tool.description, tool.version, tool.tags) == ("Act\n\nOn a thing.", "1.2", ("things",))
    assert tool.query == {
        "filter[name]": "{filter_name}",
        "ids": "{ids}",
        "deep": "{deep}",
        "pipes": "{pipes}",
        "json": "{json}",
    }
    assert tool.query_style == {"ids": "comma", "deep": "deep", "pipes": "pipe"}
    assert (tool.headers, tool.cookies) == ({"X-Trace": "{X_Trace}"}, {"sid": "{sid}"})
    assert tool.parameters["id"] == {"type": "integer", "description": "Which one."}
    assert tool.required == ("id",)
    assert list(tool.parameters) == ["id", "filter_name", "ids", "deep", "pipes", "json", "X_Trace", "sid"]


def test_names_are_told_apart_and_made_of_paths_where_there_are_none() -> None:
    paths = {
        "/a-b": {"get": {"responses": OK}, "post": {"operationId": "do it!", "responses": OK}},
        "/a_b": {"get": {"responses": OK}},
        "/long": {"get": {"operationId": "x" * 70, "responses": OK}, "put": {"operationId": "x" * 80, "responses": OK}},
        "/9": {"get": {"operationId": "9 lives", "responses": OK}},
    }

    names = [tool.name for tool in import_openapi(document(paths=paths))]

    assert names == ["get_a_b", "do_it", "get_a_b_2", "x" * 64, "x" * 62 + "_2", "_9_lives"]


def test_parameters_of_a_path_belong_to_its_operations() -> None:
    path = {
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"name": "q", "in": "query", "schema": {"type": "integer"}},
        ],
        "get": operation(parameters=[{"$ref": "#/components/parameters/q"}]),
    }

    tool = only(
        {"/{id}": path}, components={"parameters": {"q": {"name": "q", "in": "query", "schema": {"type": "string"}}}}
    )

    assert tool.parameters == {"id": {"type": "integer"}, "q": {"type": "string"}}


def body(schema: Any, kind: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"/": {"post": operation(requestBody={"content": {kind: {"schema": schema}}, "required": True, **more})}}


THING = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("schema", "options", "template", "parameters", "required"),
    [
        (THING, {}, {"n": "{n}", "s": "{s}"}, ["n", "s"], ("n",)),
        (THING, {"required": False}, "{body}", ["body"], ()),
        ({**THING, "required": []}, {"required": False}, {"n": "{n}", "s": "{s}"}, ["n", "s"], ()),
        ({"type": "array", "items": THING}, {}, "{body}", ["body"], ("body",)),
        ({**THING, "additionalProperties": True}, {}, "{body}", ["body"], ("body",)),
        ({"oneOf": [THING, {"type": "string"}]}, {}, "{body}", ["body"], ("body",)),
        ({"allOf": [THING]}, {"description": "It."}, "{body}", ["body"], ("body",)),
        ({}, {}, "{body}", ["body"], ("body",)),
    ],
)
def test_bodies(schema: Any, options: Any, template: Any, parameters: list[str], required: tuple[str, ...]) -> None:
    tool = only(body(schema, **options))

    assert (tool.body, list(tool.parameters), tool.required) == (template, parameters, required)


def test_forms_and_other_kinds_of_json() -> None:
    form = only(body(THING, "application/x-www-form-urlencoded"))
    merge = only(body(THING, "application/merge-patch+json"))

    assert (form.form, form.body) == ({"n": "{n}", "s": "{s}"}, None)
    assert merge.headers == {"Content-Type": "application/merge-patch+json"}


def test_a_field_of_the_body_may_be_called_like_a_parameter() -> None:
    paths = body(THING)
    paths["/"]["post"]["parameters"] = [{"name": "n", "in": "query", "schema": {"type": "string"}}]

    tool = only(paths)

    assert (tool.query, tool.body) == ({"n": "{n}"}, {"n": "{n_2}", "s": "{s}"})
    assert (tool.parameters["n"], tool.parameters["n_2"]) == ({"type": "string"}, {"type": "integer"})


def test_schemas_refer_to_each_other_and_to_themselves() -> None:
    schemas = {
        "Node": {
            "type": "object",
            "properties": {
                "next": {"$ref": "#/components/schemas/Node"},
                "leaf": {"$ref": "#/components/schemas/Leaf"},
                "id": {"type": "string", "readOnly": True},
            },
            "required": ["id", "leaf"],
            "example": {"id": "x"},
            "x-internal": True,
        },
        "Leaf": {"type": "string"},
        "Unused": {"type": "string"},
    }

    tool = only(body({"$ref": "#/components/schemas/Node"}), components={"schemas": schemas})

    assert tool.body == {"next": "{next}", "leaf": "{leaf}"}
    assert tool.required == ("leaf",)
    assert tool.definitions == {
        "Node": {
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/Node"}, "leaf": {"$ref": "#/$defs/Leaf"}},
            "required": ["leaf"],
        },
        "Leaf": {"type": "string"},
    }


def test_schemas_of_3_0_are_a_dialect_of_their_own() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False},
            "b": {"type": "string", "nullable": True, "enum": ["x"]},
            "c": {"type": "array", "items": {"type": "integer", "nullable": True}},
        },
    }

    tool = only(body(schema), "3.0.3")

    assert tool.parameters == {
        "a": {"type": "number", "exclusiveMinimum": 0, "maximum": 9},
        "b": {"type": ["string", "null"], "enum": ["x", None]},
        "c": {"type": "array", "items": {"type": ["integer", "null"]}},
    }


SCHEMES = {
    "bearer": {"type": "http", "scheme": "Bearer"},
    "basic": {"type": "http", "scheme": "basic"},
    "digest": {"type": "http", "scheme": "digest"},
    "key": {"type": "apiKey", "in": "query", "name": "k"},
    "oauth": {"type": "oauth2", "flows": {}},
}


@pytest.mark.parametrize(
    ("security", "auth", "expected"),
    [
        ([{"bearer": []}], "secret:s", BearerAuth(token="secret:s")),
        ([{"oauth": ["read"]}], {"oauth": "secret:s"}, BearerAuth(token="secret:s")),
        ([{"basic": []}], {"basic": "ada:secret:s"}, BasicAuth(username="ada", password="secret:s")),
        ([{"key": []}], {"key": "secret:s"}, ApiKeyAuth(place="query", name="k", key="secret:s")),
        ([{"bearer": []}, {"key": []}], {"key": "secret:s"}, ApiKeyAuth(place="query", name="k", key="secret:s")),
        ([{}, {"bearer": []}], {"bearer": "secret:s"}, BearerAuth(token="secret:s")),
        ([{}, {"bearer": []}], None, None),
        ([], None, None),
    ],
)
def test_security(security: Any, auth: Any, expected: Any) -> None:
    paths = {"/": {"get": operation(security=security)}}

    tool = only(paths, components={"securitySchemes": SCHEMES}, security=[{"digest": []}], auth=auth)

    assert tool.auth == expected


@pytest.mark.parametrize(
    ("security", "auth", "problem"),
    [
        ([{"bearer": []}], None, '/paths/~1/get/security: needs "bearer"; give auth with the name of its secret'),
        (
            [{"bearer": []}, {"key": []}],
            None,
            '/paths/~1/get/security: needs "bearer" or "key"; give auth with the name of its secret',
        ),
        (
            [{"bearer": [], "key": []}],
            "secret:s",
            '/paths/~1/get/security: needs "bearer" and "key"; give auth with the name of its secret; '
            "several at once are not supported",
        ),
        ([{"digest": []}], "secret:s", '/components/securitySchemes/digest: the scheme "digest" is not supported'),
        (
            [{"basic": []}],
            "secret:s",
            "/components/securitySchemes/basic: needs a user too; give auth as USER:secret:NAME",
        ),
        (
            [{"bearer": []}],
            "sk-123",
            "/components/securitySchemes/bearer: auth must give the name of a secret, such as secret:weather_key",
        ),
        ([], {"bearr": "secret:s"}, '/components/securitySchemes: there is no scheme "bearr"'),
    ],
)
def test_security_that_cannot_be_had(security: Any, auth: Any, problem: str) -> None:
    paths = {"/": {"get": operation(security=security)}}

    assert problems(paths, components={"securitySchemes": SCHEMES}, auth=auth) == [problem]


@pytest.mark.parametrize(
    ("servers", "base_url", "url"),
    [
        ([{"url": "https://a.test/v1"}], None, "https://a.test/v1/x"),
        ([{"url": "https://a.test"}], None, "https://a.test/x"),
        ([{"url": "https://a.test/v1"}], "http://b.test/", "http://b.test/x"),
        (
            [{"url": "https://{h}.test/{v}/", "variables": {"h": {"default": "c"}, "v": {"default": "2"}}}],
            None,
            "https://c.test/2/x",
        ),
        ([{"url": "/v1"}], "http://b.test", "http://b.test/x"),
    ],
)
def test_where_an_api_is(servers: Any, base_url: str | None, url: str) -> None:
    assert only({"/x": {"get": operation()}}, servers=servers, base_url=base_url).url == url


def test_all_problems_are_told_with_their_places() -> None:
    paths = {
        "/a/{id}": {
            "get": operation(
                parameters=[
                    {"$ref": "#/components/parameters/absent"},
                    {"$ref": "other.yaml#/q"},
                    {"name": "o", "in": "query", "schema": {"type": "object"}},
                    {"name": "x", "in": "query", "content": {"text/csv": {}}},
                ]
            ),
            "post": operation(requestBody={"content": {"multipart/form-data": {}, "text/plain": {}}}),
        },
        "/b/{m}": {
            "get": operation(
                parameters=[
                    {"name": "m", "in": "path", "required": True, "style": "matrix", "schema": {"type": "string"}}
                ]
            )
        },
        "/c": {"post": operation(requestBody={"$ref": "#/components/requestBodies/loop"})},
        "/d": {"get": operation(parameters=[{"name": "p", "in": "query", "schema": {"$ref": "#/nowhere"}}])},
    }

    found = problems(paths, components={"requestBodies": {"loop": {"$ref": "#/components/requestBodies/loop"}}})

    assert found == [
        '/paths/~1a~1{id}/get/parameters/0/$ref: "#/components/parameters/absent" leads nowhere',
        '/paths/~1a~1{id}/get/parameters/1/$ref: "other.yaml#/q" is in another document; put all into one first',
        "/paths/~1a~1{id}/get/parameters/2/style: an object in a query must have the style deepObject",
        "/paths/~1a~1{id}/get/parameters/3/content: is not JSON, the only form of a parameter that is supported",
        '/paths/~1a~1{id}/get/parameters: the path parameter "id" is missing',
        '/paths/~1a~1{id}/post/parameters: the path parameter "id" is missing',
        "/paths/~1a~1{id}/post/requestBody/content: has multipart/form-data, text/plain; "
        "only JSON and application/x-www-form-urlencoded are supported",
        '/paths/~1b~1{m}/get/parameters/0/style: the style "matrix" is not supported in a path',
        "/components/requestBodies/loop/$ref: leads to itself",
        "/components/requestBodies/loop/content: has nothing; "
        "only JSON and application/x-www-form-urlencoded are supported",
        '/paths/~1d/get/parameters/0/schema/$ref: "#/nowhere" leads nowhere',
    ]


def test_the_form_of_a_document_is_checked_first() -> None:
    broken = document()
    del broken["info"]["version"]
    broken["paths"]["/things"]["get"] = {
        "parameters": [{"name": "a", "in": "quer"}, {"in": "query"}, {"$ref": 3}],
        "requestBody": {"content": {"application/json": {"schema": {"type": "objec"}}}},
        "responses": {"200": {}},
    }

    with pytest.raises(DocumentInvalid) as caught:
        import_openapi(broken)

    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "/info/version",
        "/paths/~1things/get/parameters/0/in",
        "/paths/~1things/get/parameters/1/name",
        "/paths/~1things/get/parameters/2/$ref",
        "/paths/~1things/get/requestBody/content/application~1json/schema/type",
        "/paths/~1things/get/responses/200/description",
    ]
    assert caught.value.message.endswith("; and 3 more")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"openapi": "2.0"}, "/openapi: is 2.0; give a document of OpenAPI 3.0 or 3.1"),
        ({"openapi": None}, "/openapi: is missing; give a document of OpenAPI 3.0 or 3.1"),
        ({"paths": {}}, "/paths: has no operation that is wanted"),
        ({"paths": None}, "/paths: has no operation that is wanted"),
    ],
)
def test_documents_that_say_nothing(change: dict[str, Any], problem: str) -> None:
    changed = {name: value for name, value in (document() | change).items() if value is not None}

    with pytest.raises(DocumentInvalid) as caught:
        import_openapi(changed)

    assert caught.value.problems == [problem]


def test_only_what_is_wanted_has_to_be_right() -> None:
    paths = {
        "/a": {"get": operation(operationId="list_a", tags=["x"])},
        "/a/{id}": {"delete": operation(operationId="drop_a", tags=["y"])},  # its path parameter is missing
        "/b": {"get": operation(operationId="list_b", tags=["y"]), "put": operation(operationId="put_b")},
    }

    def names(**wanted: Any) -> list[str]:
        return [tool.name for tool in import_openapi(document(paths=copy.deepcopy(paths)), **wanted)]

    assert names(include=["list_*"]) == ["list_a", "list_b"]
    assert names(include=["GET /b", "PUT *"]) == ["list_b", "put_b"]
    assert names(include=["/b"], tags=["y"]) == ["list_b"]
    assert problems(paths, tags=["y"]) == ['/paths/~1a~1{id}/delete/parameters: the path parameter "id" is missing']
    assert problems(paths, include=["nothing"]) == ["/paths: has no operation that is wanted"]
