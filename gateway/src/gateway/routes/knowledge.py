"""Articles, publishing, import and search, owned by knowledge-service."""

from gateway.routes.table import FILE_DEADLINE, FILES, MEBIBYTE, Route

KNOWLEDGE = "knowledge-service"

ROUTES = (
    Route("GET", "/knowledge/articles", "list_articles", KNOWLEDGE),
    Route("POST", "/knowledge/articles", "draft_article", KNOWLEDGE),
    Route("GET", "/knowledge/articles/{article_id}", "get_article", KNOWLEDGE),
    Route("GET", "/knowledge/articles/{article_id}/versions", "list_versions", KNOWLEDGE),
    Route("PATCH", "/knowledge/articles/{article_id}", "change_article", KNOWLEDGE),
    Route("DELETE", "/knowledge/articles/{article_id}", "delete_article", KNOWLEDGE),
    Route("POST", "/knowledge/publish", "publish", KNOWLEDGE, deadline=FILE_DEADLINE, work="background"),
    Route(
        "POST",
        "/knowledge/import",
        "import_articles",
        KNOWLEDGE,
        media=FILES,
        max_body=10 * MEBIBYTE,
        deadline=FILE_DEADLINE,
        work="background",
    ),
    Route("GET", "/knowledge/imports/{import_id}", "get_import", KNOWLEDGE),
    Route("POST", "/knowledge/ask", "ask", KNOWLEDGE, work="chat"),
    Route("GET", "/knowledge/search", "search", KNOWLEDGE),
)
