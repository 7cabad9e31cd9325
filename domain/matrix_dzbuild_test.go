package domain_test

import "testing"

func TestMatrixDZBuild(t *testing.T) {
	matrix(t, "dzbuild", `
== invite       owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner           role  role  np      np       np        role    np        np         np          404      404
admin           ok    ok    np      np       np        ok      np        np         np          404      404
manager         ok    ok    np      np       np        ok      np        np         np          404      404
operator        ok    ok    np      np       np        ok      np        np         np          404      404
read_only       ok    ok    np      np       np        ok      np        np         np          404      404

== resend       owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
admin,manager,operator,read_only ok ok np np np ok np np np 404 404

== cancel       owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
admin,manager,operator,read_only ok ok np np np ok np np np 404 404

== change_role  owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner>*         perm  perm  np      np       np        perm    np        np         np          404      404
self>owner      perm  role  np      np       np        .       .         .          .           404      .
self>admin      perm  same  np      np       np        .       .         .          .           404      .
self>manager,operator,read_only perm ok np np np .     .       .         .          404         .
admin>owner     role  role  np      np       np        role    np        np         np          404      404
admin>admin     same  same  np      np       np        same    np        np         np          404      404
admin>manager,operator,read_only ok ok np np np ok np np np 404 404
manager>owner   role  role  np      np       np        role    np        np         np          404      404
manager>manager same  same  np      np       np        same    np        np         np          404      404
manager>admin,operator,read_only ok ok np np np ok np np np 404 404
operator>owner  role  role  np      np       np        role    np        np         np          404      404
operator>operator same same np      np       np        same    np        np         np          404      404
operator>admin,manager,read_only ok ok np np np ok np np np 404 404
read_only>owner role  role  np      np       np        role    np        np         np          404      404
read_only>read_only same same np    np       np        same    np        np         np          404      404
read_only>admin,manager,operator ok ok np np np ok np np np 404 404
stranger>*      404   404   np      np       np        404     np        np         np          404      404

== remove       owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner           self  perm  np      np       np        perm    np        np         np          404      404
self            self  self  np      np       np        .       .         .          .           404      .
admin           ok    ok    np      np       np        ok      np        np         np          404      404
manager         ok    ok    np      np       np        ok      np        np         np          404      404
operator        ok    ok    np      np       np        ok      np        np         np          404      404
read_only       ok    ok    np      np       np        ok      np        np         np          404      404
stranger        404   404   np      np       np        404     np        np         np          404      404

== overrides    owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner>+orders:read,-orders:read np np np np np np np np np 404 404
self>+orders:read,-orders:read np np np np np . . . . 404 .
admin,manager,operator,read_only>+orders:read,-orders:read np np np np np np np np np 404 404
stranger>+orders:read,-orders:read 404 404 np np np 404 np np np 404 404

== sites        owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner>*         perm  perm  np      np       np        perm    np        np         np          404      404
self>owner      perm  role  np      np       np        .       .         .          .           404      .
self>admin,manager,operator,read_only perm ok np np np . . . . 404 .
admin,manager,operator,read_only>owner role role np np np role np np np 404 404
admin,manager,operator,read_only>admin,manager,operator,read_only ok ok np np np ok np np np 404 404
stranger>*      404   404   np      np       np        404     np        np         np          404      404

== create_key   owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner           role  role  np      np       np        role    np        np         np          404      404
admin           ok    ok    np      np       np        ok      np        np         np          404      404
manager         ok    ok    np      np       np        ok      np        np         np          404      404
operator        ok    ok    np      np       np        ok      np        np         np          404      404
read_only       ok    ok    np      np       np        ok      np        np         np          404      404

== revoke_key   owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
admin,manager,operator,read_only ok ok np np np ok np np np 404 404

== rename       owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
team            ok    ok    np      np       np        ok      np        np         np          404      404

== require_factor owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
everyone        ok    ok    np      np       np        ok      np        np         np          404      404

== delete       owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
team            ok    np    np      np       np        np      np        np         np          404      404

== set_plan     owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
free,pro,unlimited op op    op      op       op        op      op        op         op          404      ok
enterprise      op    op    op      op       op        op      op        op         op          404      same
starter         op    op    op      op       op        op      op        op         op          404      422

== request_transfer owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner           422   np    np      np       np        np      np        np         np          404      404
self            422   np    np      np       np        .       .         .          .           404      .
admin,manager,operator,read_only ok np np np np np np np np 404 404
stranger        422   np    np      np       np        np      np        np         np          404      404

== operator_transfer owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
owner           op    op    op      op       op        op      op        op         op          404      same
self            op    op    op      op       op        .       .         .          .           404      .
admin,manager,operator,read_only op op op op op op op op op 404 ok
stranger        op    op    op      op       op        op      op        op         op          404      422

== leave        owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
self>-          owner leave leave   leave    leave     .       .         .          .           404      .

== add_site     owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
team            ok    ok    np      np       np        ok      np        np         np          404      404

== rename_site  owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
team            ok    ok    np      np       np        ok      np        np         np          404      404

== remove_site  owner admin manager operator read_only k.admin k.manager k.operator k.read_only stranger OPS
team            ok    ok    np      np       np        ok      np        np         np          404      404
`)
}
