from programs.methods.curate import *
