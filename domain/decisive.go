package domain

// Decisive tells whether somebody may be allowed more or less in a team after
// an event than before. Who keeps decisions has to ask again then. An event
// counts as decisive unless it stands here.
func Decisive(event Event) bool {
	switch event.(type) {
	case TeamRenamed, SiteRenamed,
		MemberInvited, InvitationResent, InvitationCancelled, InvitationDeclined, InvitationExpired, InvitationDelivery,
		OwnershipTransferRequested, OwnershipTransferCancelled,
		AccessReviewOpened, AccessReviewDecided, AccessReviewClosed,
		UserRegistered, EmailVerified, UserRenamed, PasswordChanged, ActiveTeamChanged, AddressClaimed,
		RecoveryCodeUsed, RecoveryCodesRenewed, PasskeyUsed, PasskeyRefused, SessionStarted, SessionEnded, PasswordResetRequested, HostActionRecorded:
		return false
	}
	return true
}
