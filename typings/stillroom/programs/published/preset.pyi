from programs.published.preset import *
