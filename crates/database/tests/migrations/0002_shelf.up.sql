create table shelf (id int primary key);
grant select, insert, update on shelf to pv_worker;
insert into shelf values (1);
