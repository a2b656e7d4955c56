# `lantern check` as the service of lantern.service: its user, folder and credentials. Run by root.
properties='DynamicUser|StateDirectory(Mode)?|UMask|LoadCredential(Encrypted)?'
exec systemd-run --pipe --quiet --wait --collect --property=User=lantern \
    $(systemctl cat lantern.service | sed -nE "s/^($properties)=/--property=&/p") \
    /opt/lantern/.venv/bin/lantern check --config /etc/lantern/config.yaml
