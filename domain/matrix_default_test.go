package domain_test

import "testing"

// The default catalog has no page of its own: an admin brings in admins, and
// only the owner demotes, limits or removes one.
func TestMatrixDefault(t *testing.T) {
	matrix(t, "default", `
== invite       owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner           role  role  np      np     np     role    np        np       np       404      404
admin           ok    ok    np      np     np     ok      np        np       np       404      404
manager         ok    ok    np      np     np     ok      np        np       np       404      404
member          ok    ok    np      np     np     ok      np        np       np       404      404
viewer          ok    ok    np      np     np     ok      np        np       np       404      404

== resend       owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
admin,manager,member,viewer ok ok np np    np     ok      np        np       np       404      404

== cancel       owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
admin,manager,member,viewer ok ok np np    np     ok      np        np       np       404      404

== change_role  owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner>*         perm  perm  np      np     np     perm    np        np       np       404      404
self>owner      perm  role  np      np     np     .       .         .        .        404      .
self>admin,manager,member,viewer perm rank np np np .     .         .        .        404      .
admin>owner     role  role  np      np     np     role    np        np       np       404      404
admin>admin     same  rank  np      np     np     rank    np        np       np       404      404
admin>manager,member,viewer ok rank np np  np     rank    np        np       np       404      404
manager>owner   role  role  np      np     np     role    np        np       np       404      404
manager>manager same  same  np      np     np     same    np        np       np       404      404
manager>admin,member,viewer ok ok np np    np     ok      np        np       np       404      404
member>owner    role  role  np      np     np     role    np        np       np       404      404
member>member   same  same  np      np     np     same    np        np       np       404      404
member>admin,manager,viewer ok ok np np    np     ok      np        np       np       404      404
viewer>owner    role  role  np      np     np     role    np        np       np       404      404
viewer>viewer   same  same  np      np     np     same    np        np       np       404      404
viewer>admin,manager,member ok ok np np    np     ok      np        np       np       404      404
stranger>*      404   404   np      np     np     404     np        np       np       404      404

== remove       owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner           self  perm  np      np     np     perm    np        np       np       404      404
self            self  self  np      np     np     .       .         .        .        404      .
admin           ok    rank  np      np     np     rank    np        np       np       404      404
manager         ok    ok    np      np     np     ok      np        np       np       404      404
member          ok    ok    np      np     np     ok      np        np       np       404      404
viewer          ok    ok    np      np     np     ok      np        np       np       404      404
stranger        404   404   np      np     np     404     np        np       np       404      404

== overrides    owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner>+settings:read,+billing:read,-team:read perm perm np np np perm np np np 404 404
self>+settings:read,+billing:read,-team:read perm rank np np np . . . . 404 .
admin>+settings:read,+billing:read,-team:read ok rank np np np rank np np np 404 404
manager,member,viewer>+settings:read,-team:read ok ok np np np ok np np np 404 404
manager,member,viewer>+billing:read ok rank np np np rank np np np 404 404
stranger>+settings:read,+billing:read,-team:read 404 404 np np np 404 np np np 404 404

== sites        owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner>*         perm  perm  np      np     np     perm    np        np       np       404      404
self>*          perm  rank  np      np     np     .       .         .        .        404      .
admin>owner     role  rank  np      np     np     rank    np        np       np       404      404
admin>admin,manager,member,viewer ok rank np np np rank   np        np       np       404      404
manager,member,viewer>owner role role np np np    role    np        np       np       404      404
manager,member,viewer>admin,manager,member,viewer ok ok np np np ok np np np 404 404
stranger>*      404   404   np      np     np     404     np        np       np       404      404

== create_key   owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner           role  role  np      np     np     role    np        np       np       404      404
admin           ok    ok    np      np     np     ok      np        np       np       404      404
manager         ok    ok    np      np     np     ok      np        np       np       404      404
member          ok    ok    np      np     np     ok      np        np       np       404      404
viewer          ok    ok    np      np     np     ok      np        np       np       404      404

== revoke_key   owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
admin,manager,member,viewer ok ok np np    np     ok      np        np       np       404      404

== rename       owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
team            ok    ok    np      np     np     ok      np        np       np       404      404

== require_factor owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
everyone        ok    ok    np      np     np     ok      np        np       np       404      404

== delete       owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
team            ok    np    np      np     np     np      np        np       np       404      404

== set_plan     owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
free,business   op    op    op      op     op     op      op        op       op       404      ok
team            op    op    op      op     op     op      op        op       op       404      same
pro             op    op    op      op     op     op      op        op       op       404      422

== request_transfer owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner           422   np    np      np     np     np      np        np       np       404      404
self            422   np    np      np     np     .       .         .        .        404      .
admin,manager,member,viewer ok np np np    np     np      np        np       np       404      404
stranger        422   np    np      np     np     np      np        np       np       404      404

== operator_transfer owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
owner           op    op    op      op     op     op      op        op       op       404      same
self            op    op    op      op     op     .       .         .        .        404      .
admin,manager,member,viewer op op op op    op     op      op        op       op       404      ok
stranger        op    op    op      op     op     op      op        op       op       404      422

== leave        owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
self>-          owner ok    ok      ok     ok     .       .         .        .        404      .

== add_site     owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
team            ok    ok    np      np     np     ok      np        np       np       404      404

== rename_site  owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
team            ok    ok    np      np     np     ok      np        np       np       404      404

== remove_site  owner admin manager member viewer k.admin k.manager k.member k.viewer stranger OPS
team            ok    ok    np      np     np     ok      np        np       np       404      404
`)
}
