"""Refusals of the inventory service.

Problem
+-- SkuNotFound           404 sku_not_found
+-- WarehouseNotFound     404 warehouse_not_found
+-- ReservationNotFound   404 reservation_not_found
+-- OutOfStock            409 out_of_stock
+-- NotHeld               409 not_held
+-- BelowReserved         409 below_reserved
+-- AlreadySold           409 already_sold
"""

from careforall.kit.errors import Conflict, NotFound


class SkuNotFound(NotFound):
    """No product and no stock row has this SKU."""

    code = "sku_not_found"
    title = "There is no such SKU"


class WarehouseNotFound(NotFound):
    """There is no warehouse of this code."""

    code = "warehouse_not_found"
    title = "There is no such warehouse"


class ReservationNotFound(NotFound):
    """This holder never held anything."""

    code = "reservation_not_found"
    title = "There is no such reservation"


class OutOfStock(Conflict):
    """Not enough is available; nothing was held."""

    code = "out_of_stock"
    title = "Not enough is in stock"


class NotHeld(Conflict):
    """The hold had expired or been released; nothing changed."""

    code = "not_held"
    title = "The stock is held no more"


class BelowReserved(Conflict):
    """On hand would fall below what is reserved; nothing changed."""

    code = "below_reserved"
    title = "More is reserved than would be on hand"


class AlreadySold(Conflict):
    """The holder has bought this already; a new purchase needs a holder of its own."""

    code = "already_sold"
    title = "This holder has bought that already"
