"""Webhooks in the graph: the secret is shown once."""

from __future__ import annotations

from app.graphql.schema import Schema
from tests.graphql.conftest import Graph
from tests.graphql.test_mutations import create, perform

CREATE = """mutation($input: CreateWebhookInput!) { createWebhook(input: $input) {
  webhook { id name path pipeline { name webhooks { totalCount nodes { id } } } } secret
  errors { code path } } }"""
DELETE = """mutation($input: DeleteWebhookInput!) { deleteWebhook(input: $input) {
  deletedWebhookId errors { code path } } }"""


async def test_a_webhook_is_created_found_and_deleted(graph: Graph) -> None:
    made = await perform(graph, CREATE, pipelineId=await create(graph), name="git")
    webhook = made["webhook"]
    assert made["errors"] == []
    assert len(made["secret"]) == 64
    assert webhook["path"].startswith("/hooks/")
    assert webhook["pipeline"] == {
        "name": "penguins",
        "webhooks": {"totalCount": 1, "nodes": [{"id": webhook["id"]}]},
    }
    query = """query($id: ID!) { node(id: $id) { ... on Webhook { name } }
      webhook(id: $id) { name } webhooks { totalCount nodes { name } } }"""
    assert await graph.data(query, id=webhook["id"]) == {
        "node": {"name": "git"},
        "webhook": {"name": "git"},
        "webhooks": {"totalCount": 1, "nodes": [{"name": "git"}]},
    }
    gone = {"deletedWebhookId": webhook["id"], "errors": []}
    assert await perform(graph, DELETE, webhookId=webhook["id"]) == gone
    again = await perform(graph, DELETE, webhookId=webhook["id"])
    assert again["errors"] == [{"code": "NOT_FOUND", "path": ["webhookId"]}]


async def test_a_name_is_used_once_and_a_pipeline_is_needed(graph: Graph) -> None:
    pipeline_id = await create(graph)
    await perform(graph, CREATE, pipelineId=pipeline_id, name="git")
    again = await perform(graph, CREATE, pipelineId=pipeline_id, name="git")
    assert (again["secret"], again["errors"]) == (None, [{"code": "CONFLICT", "path": ["name"]}])
    nowhere = await perform(graph, CREATE, pipelineId="00000000-0000-0000-0000-000000000000", name="git")
    assert nowhere["errors"] == [{"code": "NOT_FOUND", "path": ["pipelineId"]}]


def test_no_read_gives_the_secret(schema: Schema) -> None:
    webhook = schema._schema.type_map["Webhook"]
    assert set(webhook.fields) == {  # type: ignore[attr-defined]
        "id",
        "name",
        "path",
        "pipeline",
        "pipelineId",
        "createdAt",
        "updatedAt",
    }
