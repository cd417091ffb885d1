from programs.provenance import *
