-- A checkout asks what a cart was bought for already: it may not lie there twice while carts has not heard of the order.

CREATE INDEX orders_of_cart ON orders (cart_id) WHERE cart_id IS NOT NULL;
