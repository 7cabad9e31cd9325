package domain_test

import "testing"

func TestMatrixDistribu(t *testing.T) {
	matrix(t, "distribu", `
== invite         OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER             role  role  np     role    np       404      404
ADMIN             ok    ok    np     ok      np       404      404
MEMBER            ok    ok    np     ok      np       404      404

== resend         OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
ADMIN,MEMBER      ok    ok    np     ok      np       404      404

== cancel         OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
ADMIN,MEMBER      ok    ok    np     ok      np       404      404

== change_role    OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER>*           perm  np    np     np      np       404      404
self>*            perm  np    np     .       .        404      .
ADMIN>OWNER       role  np    np     np      np       404      404
ADMIN>ADMIN       same  np    np     np      np       404      404
ADMIN>MEMBER      ok    np    np     np      np       404      404
MEMBER>OWNER      role  np    np     np      np       404      404
MEMBER>ADMIN      ok    np    np     np      np       404      404
MEMBER>MEMBER     same  np    np     np      np       404      404
stranger>*        404   np    np     np      np       404      404

== remove         OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER             self  perm  np     perm    np       404      404
self              self  self  np     .       .        404      .
ADMIN             ok    rank  np     rank    np       404      404
MEMBER            ok    ok    np     ok      np       404      404
stranger          404   404   np     404     np       404      404

== overrides      OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER>+orders:read,-orders:read        np  np np np np 404 404
self>+orders:read,-orders:read         np  np np .  .  404 .
ADMIN,MEMBER>+orders:read,-orders:read np  np np np np 404 404
stranger>+orders:read,-orders:read     404 np np np np 404 404

== sites          OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER>*           perm  np    np     np      np       404      404
self>*            perm  np    np     .       .        404      .
ADMIN,MEMBER>*    422   np    np     np      np       404      404
stranger>*        404   np    np     np      np       404      404

== create_key     OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER             role  role  np     role    np       404      404
ADMIN             ok    ok    np     ok      np       404      404
MEMBER            ok    ok    np     ok      np       404      404

== revoke_key     OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
ADMIN,MEMBER      ok    ok    np     ok      np       404      404

== rename         OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
team              ok    np    np     np      np       404      404

== require_factor OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
everyone          plan  np    np     np      np       404      404

== delete         OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
team              ok    np    np     np      np       404      404

== set_plan       OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
growth,scale      op    op    op     op      op       404      ok
starter           op    op    op     op      op       404      same
enterprise        op    op    op     op      op       404      422

== request_transfer OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER             op    op    op     op      op       404      404
self              op    op    op     .       .        404      .
ADMIN,MEMBER      op    op    op     op      op       404      404
stranger          op    op    op     op      op       404      404

== operator_transfer OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
OWNER             op    op    op     op      op       404      same
self              op    op    op     .       .        404      .
ADMIN,MEMBER      op    op    op     op      op       404      ok
stranger          op    op    op     op      op       404      422

== leave          OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
self>-            owner leave leave  .       .        404      .

== add_site       OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
team              np    np    np     np      np       404      404

== rename_site    OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
team              404   np    np     np      np       404      404

== remove_site    OWNER ADMIN MEMBER k.ADMIN k.MEMBER stranger OPS
team              404   np    np     np      np       404      404
`)
}
