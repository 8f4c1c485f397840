drop table shelf;
