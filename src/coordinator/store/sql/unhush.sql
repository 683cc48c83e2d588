-- Tell everybody to ring again. One row. `owe` comes after it, in another transaction.
select setval('coordination.bell', 1) as bell
