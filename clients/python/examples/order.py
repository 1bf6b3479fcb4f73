"""An order and its work in one transaction: both happen, or none does.

    ff --db sqlite:shop.db migrate
    python3 examples/order.py shop.db
"""

import sqlite3
import sys

import flowfabric


def take_order(connection: sqlite3.Connection, number: str) -> None:
    """Stores an order and submits its confirmation, in the caller's transaction."""
    connection.execute("INSERT INTO orders (number, state) VALUES (?, 'taken')", (number,))
    flowfabric.Client(connection).submit(
        "confirmation", number, lane="mail", idempotency_key=f"order/{number}",
        policy={"retry_policy": {"max_retries": 5}})


def confirm_orders(connection: sqlite3.Connection) -> None:
    """Does the work that waits; each order changes in the transaction that ends its work."""
    client = flowfabric.Client(connection, worker="mailer")
    while True:
        lease = client.claim("mail")
        connection.commit()
        if lease is None:
            return
        number = lease.payload.decode()
        try:
            print(f"order {number} is confirmed")
            connection.execute("UPDATE orders SET state = 'confirmed' WHERE number = ?", (number,))
            client.complete(lease, f"confirmed {number}")
            connection.commit()
        except flowfabric.Refused as refused:
            connection.rollback()
            print(f"order {number} is another worker's now: {refused}")
        except Exception as error:
            connection.rollback()
            client.fail(lease, str(error))
            connection.commit()


def main() -> None:
    connection = sqlite3.connect(sys.argv[1])
    connection.execute("CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY, state TEXT)")
    for number in ("17", "18"):
        with connection:
            take_order(connection, number)
    confirm_orders(connection)
    print(connection.execute("SELECT number, state FROM orders").fetchall())


if __name__ == "__main__":
    main()
