"""Records of builds, with which an equal call is answered at once."""
