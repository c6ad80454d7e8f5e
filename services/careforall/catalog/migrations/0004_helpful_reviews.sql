-- Reviews of a product by how many found them helpful.

CREATE INDEX reviews_helpful ON reviews (product_id, helpful, id) WHERE status = 'APPROVED';
