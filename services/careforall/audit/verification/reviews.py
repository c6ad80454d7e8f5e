"""Invariants of the catalog: the rating of a product is what a recount of its approved reviews says, and so are votes."""

from careforall.audit.verification.report import Invariant

REVIEWS = (
    Invariant(
        name="catalog.rating_is_recount",
        service="catalog",
        whole=True,
        sql="""
SELECT products.id::text AS key,
       format('shows %s of %s, keeps %s of %s, its reviews say %s of %s', rating_average, products.rating_count,
              coalesce(kept.rating_sum, 0), coalesce(kept.rating_count, 0), coalesce(said.total, 0), coalesce(said.count, 0))
           AS detail
FROM products
LEFT JOIN product_ratings AS kept ON kept.product_id = products.id
LEFT JOIN (
    SELECT product_id, sum(rating) AS total, count(*) AS count FROM reviews WHERE status = 'APPROVED' GROUP BY product_id
) AS said ON said.product_id = products.id
WHERE $1::timestamptz IS NOT NULL
  AND ((coalesce(kept.rating_sum, 0), coalesce(kept.rating_count, 0)) <> (coalesce(said.total, 0), coalesce(said.count, 0))
       OR NOT removed AND (rating_average, products.rating_count)
          <> (coalesce(round(said.total::numeric / said.count, 2), 0), coalesce(said.count, 0)))
LIMIT 1000
""",
    ),
    Invariant(
        name="catalog.votes_are_recount",
        service="catalog",
        sql="""
SELECT reviews.id::text AS key,
       format('%s and %s, its votes say %s and %s', reviews.helpful, unhelpful, count(*) FILTER (WHERE votes.helpful),
              count(*) FILTER (WHERE NOT votes.helpful)) AS detail
FROM reviews
LEFT JOIN review_votes AS votes ON review_id = reviews.id
WHERE $1::timestamptz IS NOT NULL
GROUP BY reviews.id
HAVING (reviews.helpful, unhelpful)
       <> (count(*) FILTER (WHERE votes.helpful), count(*) FILTER (WHERE NOT votes.helpful))
LIMIT 1000
""",
    ),
)
